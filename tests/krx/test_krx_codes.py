"""The shape of a share code."""

from pathlib import Path

import pandas as pd
import pytest

from azak_assets import krx


@pytest.mark.parametrize("code", ["005930", "000020", "00088K", "0001A0", "0126Z0", "00104K", "950210"])
def test_codes_of_shares(code: str) -> None:
    assert krx.is_stock_code(code)


@pytest.mark.parametrize(
    "text",
    [
        "5930",  # leading zeros lost
        "0059300",
        "Q500001",  # an exchange-traded note
        "KR7005930003",  # an ISIN
        "0126z0",
        "0001I0",  # I, O and U are never issued
        "0001O0",
        "0001U0",
        "A05930",
        "00593０",  # a full-width digit is a digit to str.isdigit
        "005930\n",
        " 005930",
        "",
    ],
)
def test_what_is_no_code(text: str) -> None:
    assert not krx.is_stock_code(text)


def test_every_listed_code_has_the_shape(recorded_data: Path) -> None:
    listed = pd.read_csv(recorded_data / "listing_2026-03-20.csv", dtype=str, encoding="utf-8-sig")
    assert len(listed) > 2800
    assert [code for code in listed["Code"] if not krx.is_stock_code(code)] == []
