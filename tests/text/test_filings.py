"""A correction points at what it corrects."""

from datetime import date

import pandas as pd
import pytest

from azak_assets.text.filings import amended, report_name


def filings(*rows: tuple[str, str, str, date, str | None], filer: str = "가나전자") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["rcept_no", "corp_code", "report_nm", "rcept_dt", "correction_kind"])
    return frame.assign(filer_name=filer)


NONE = filings()
FRIDAY, MONDAY = date(2026, 11, 13), date(2026, 11, 16)


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("[기재정정]사업보고서 (2025.12)", "사업보고서 (2025.12)"),
        ("[첨부정정] [기재정정]  주요사항보고서(유상증자결정)  ", "주요사항보고서(유상증자결정)"),
        ("단일판매ㆍ공급계약체결", "단일판매ㆍ공급계약체결"),
    ],
)
def test_marks_and_spaces_are_no_part_of_a_reports_name(published: str, name: str) -> None:
    assert report_name(published) == name


def test_a_correction_points_at_the_newest_earlier_filing_of_the_same_company_and_name() -> None:
    stored = filings(
        ("20261113000001", "00000001", "분기보고서 (2026.09)", FRIDAY, None),
        ("20261113000002", "00000002", "분기보고서 (2026.09)", FRIDAY, None),
    )
    new = filings(
        ("20261116000009", "00000001", "[기재정정]분기보고서 (2026.09)", MONDAY, "기재정정"),
        ("20261116000011", "00000001", "[기재정정]분기보고서 (2026.09)", MONDAY, "기재정정"),
    )
    assert amended(new, stored) == ["20261113000001", "20261116000009"]


def test_one_persons_correction_never_points_at_another_persons_filing() -> None:
    report = "임원ㆍ주요주주특정증권등소유상황보고서"
    stored = pd.concat([
        filings(("20261112000001", "00000001", report, date(2026, 11, 12), None), filer="강하늘솔"),
        filings(("20261113000007", "00000001", report, FRIDAY, None), filer="나도담"),
    ])  # fmt: skip
    new = filings(("20261116000009", "00000001", f"[기재정정]{report}", MONDAY, "기재정정"), filer="강하늘솔")
    of_nobody = filings(("20261116000011", "00000001", f"[기재정정]{report}", MONDAY, "기재정정"), filer="마루온")
    assert amended(pd.concat([new, of_nobody]), stored) == ["20261112000001", None]


def test_a_correction_of_something_never_seen_points_nowhere() -> None:
    new = filings(("20261116000009", "00000001", "[기재정정]분기보고서 (2026.09)", MONDAY, "기재정정"))
    assert amended(new, NONE) == [None]


def test_a_filing_that_is_no_correction_points_nowhere_even_when_its_name_repeats() -> None:
    stored = filings(("20261113000001", "00000001", "임원ㆍ주요주주특정증권등소유상황보고서", FRIDAY, None))
    new = filings(("20261116000009", "00000001", "임원ㆍ주요주주특정증권등소유상황보고서", MONDAY, None))
    assert amended(new, stored) == [None]


def test_a_stored_filing_that_dart_has_renamed_counts_under_its_new_name() -> None:
    stored = filings(("20261113000001", "00000001", "분기보고서 (2026.06)", FRIDAY, None))
    again = filings(
        ("20261113000001", "00000001", "[기재정정]분기보고서 (2026.09)", FRIDAY, "기재정정"),
        ("20261116000009", "00000001", "[기재정정]분기보고서 (2026.09)", MONDAY, "기재정정"),
    )
    assert amended(again, stored) == [None, "20261113000001"]


def test_no_filings_give_no_answers() -> None:
    assert amended(NONE, NONE) == []
