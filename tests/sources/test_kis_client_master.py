"""Master files: cp949, fixed width, three layouts, and lines that do not fit."""

import io
import zipfile
from datetime import date

import pytest
from local_servers import Reply

from azak_assets.sources.failures import ContractChanged, Empty, Unavailable

# Field widths of the tails in order, from the structures the broker publishes; the names are those the tests set.
COMMON = [
    ("base_price", 9), ("unit", 5), ("unit_after_hours", 5), ("halted", 1), ("liquidation", 1), ("managed", 1),
    ("warning", 2), ("warning_notice", 1), ("unfaithful", 1), ("backdoor", 1), ("ex_right", 2), ("par_change", 2),
    ("capital_increase", 2), ("margin", 3), ("credit", 1), ("credit_days", 3), ("volume", 12), ("par", 12),
    ("listed_on", 8), ("shares", 15), ("capital", 21), ("month", 2), ("offer_price", 7), ("preferred", 1),
    ("short_hot", 1), ("surge", 1), ("krx300", 1),
]  # fmt: skip
RESULTS = [("sales", 9), ("profit", 9), ("ordinary", 9), ("net", 5), ("roe", 9), ("base_month", 8), ("cap", 9)]
END = [("credit_over", 1), ("collateral", 1), ("lending", 1)]
INDUSTRY = [("group", 2), ("size", 1), ("large", 4), ("medium", 4), ("small", 4)]
TAILS = {
    "kospi": [
        *INDUSTRY, ("flags_to_spac", 14), ("spac", 1), ("flags_after", 11), *COMMON, ("kospi", 1), *RESULTS,
        ("group_code", 3), *END,
    ],
    "kosdaq": [
        *INDUSTRY, ("flags_to_spac", 9), ("spac", 1), ("flags_after", 11), *COMMON, *RESULTS, ("group_code", 3), *END,
    ],
    "konex": [("group", 2), *COMMON, *RESULTS, *END],
}  # fmt: skip
NUMERIC = {"base_price", "volume", "par", "shares", "capital", "cap"}


def line(market, code, name, *, filler=b"", isin="", **values):
    defaults = {
        "group": "KN" if market == "konex" else "ST", "large": "0016", "medium": "0013", "listed_on": "19750611",
        "shares": "5969782", "cap": "4477337", "preferred": "0", "spac": "N",
    }  # fmt: skip
    given = {**defaults, **values}
    tail = "".join(
        given.get(field, "0").rjust(width, "0") if field in NUMERIC else given.get(field, "").ljust(width)
        for field, width in TAILS[market]
    )
    head = code.ljust(9).encode() + (isin or f"KR7{code}003").ljust(12).encode() + name.encode("cp949").ljust(40)
    return head + tail.encode() + filler


def archive(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def files():
    return {
        "kospi": [line("kospi", "005930", "삼성전자")],
        "kosdaq": [line("kosdaq", "0126Z0", "삼성에피스홀딩스", listed_on="20251124", shares="1000", cap="0")],
        "konex": [line("konex", "081180", "테스트코넥스", shares="9", cap="12")],
    }


@pytest.fixture
def listed(files, serve, kis_client):
    def answer(request):
        market = request.path.strip("/").partition("_")[0]
        content = files[market]
        if isinstance(content, Reply):
            return content
        return Reply(archive(f"{market}_code.mst", b"\n".join(content) + b"\n"))

    server = serve(answer)
    return lambda: kis_client(master_base_url=server.url + "/").listed_stocks()


def test_the_tails_of_these_tests_have_the_published_widths():
    # 228 and 222 are quoted with the line feed, 184 without.
    widths = {market: sum(width for _, width in tail) for market, tail in TAILS.items()}
    assert widths == {"kospi": 227, "kosdaq": 221, "konex": 184}


def test_three_markets_are_read(listed):
    batch = listed()
    assert batch.rejects == []
    assert batch.requests == 3
    samsung, epis, konex = batch.records
    assert (samsung.stock_code, samsung.isin, samsung.name) == ("005930", "KR7005930003", "삼성전자")
    assert (samsung.market, samsung.security_kind, samsung.sector) == ("KOSPI", "stock", "0013")
    assert (samsung.listed_on, samsung.listed_shares) == (date(1975, 6, 11), 5_969_782_000)
    assert samsung.market_cap_krw == 447_733_700_000_000
    assert (epis.stock_code, epis.market, epis.listed_on) == ("0126Z0", "KOSDAQ", date(2025, 11, 24))
    assert (epis.listed_shares, epis.market_cap_krw) == (1_000_000, None)
    assert (konex.market, konex.security_kind, konex.sector) == ("KONEX", "stock", None)
    assert (konex.listed_shares, konex.market_cap_krw) == (9_000, 1_200_000_000)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"group": "ST"}, "stock"),
        ({"group": "ST", "preferred": "1"}, "preferred"),
        ({"group": "ST", "preferred": "2"}, "preferred"),
        ({"group": "ST", "spac": "Y"}, "spac"),
        ({"group": "FS"}, "stock"),
        ({"group": "DR"}, "stock"),
        ({"group": "EF"}, "etf"),
        ({"group": "RT"}, "reit"),
        ({"group": "MF"}, "other"),
        ({"group": "IF"}, "other"),
    ],
)
@pytest.mark.parametrize("market", ["kospi", "kosdaq"])
def test_the_kind_of_a_security(files, listed, market, values, kind):
    files[market] = [line(market, "00088K", "한화3우B", **values)]
    found = next(stock for stock in listed().records if stock.stock_code == "00088K")
    assert found.security_kind == kind


@pytest.mark.parametrize(("group", "code"), [("EW", "57JJ01"), ("EN", "Q500001"), ("SW", "0001W0"), ("SR", "0001R0")])
def test_what_is_no_share_is_left_out(files, listed, group, code):
    files["kospi"].append(line("kospi", code, "파생", group=group))
    batch = listed()
    assert len(batch.records) == 3
    assert batch.rejects == []


def test_a_filler_byte_and_carriage_returns_do_not_shift_the_fields(files, listed):
    files["kospi"] = [line("kospi", "005930", "삼성전자", filler=b" \r")]
    files["kosdaq"] = [line("kosdaq", "035720", "카카오", filler=b"\r")]
    batch = listed()
    assert batch.rejects == []
    assert [(s.name, s.listed_on) for s in batch.records[:2]] == [
        ("삼성전자", date(1975, 6, 11)), ("카카오", date(1975, 6, 11))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (b"005930   KR7005930003short", "tail", "does not fit kospi_code.mst.zip"),
        (line("kospi", "005930", "회사", group="ZZ"), "tail", "does not fit"),
        (line("kospi", "5930", "회사"), "code", "stock code"),
        (line("kospi", "005930", ""), "name", "is missing or empty"),
        (line("kospi", "005930", "회사", shares="이천"[:0] + "12A"), "listed_shares", "not a whole number"),
        (line("kospi", "005930", "회사", listed_on="19751399"), "listed_on", "YYYYMMDD"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_and_the_others_land(files, listed, bad, field, reason):
    files["kospi"] = [bad, line("kospi", "000660", "SK하이닉스")]
    batch = listed()
    assert [stock.stock_code for stock in batch.records] == ["000660", "0126Z0", "081180"]
    (reject,) = batch.rejects
    assert reject.field == field
    assert reason in reject.reason


def test_a_code_in_two_markets_is_refused_the_second_time(files, listed):
    files["konex"] = [line("konex", "005930", "삼성전자"), *files["konex"]]
    batch = listed()
    assert len({stock.stock_code for stock in batch.records}) == len(batch.records) == 3
    assert [r.reason for r in batch.rejects] == ["is listed on KOSPI already"]


def test_a_file_without_a_share_is_empty(files, listed):
    files["kosdaq"] = [b"nothing of use"]
    with pytest.raises(Empty, match=r"kosdaq_code\.mst\.zip holds no share; the first of 1 refused lines does not fit"):
        listed()


@pytest.mark.parametrize(
    ("reply", "failure", "message"),
    [
        (Reply(b"<html>maintenance</html>"), ContractChanged, "no zip archive came: <html>"),
        (Reply(archive("kospi_code.mst", b"x" * 5000)[:40]), Unavailable, "a damaged zip archive of 40 bytes"),
        (Reply(b""), Unavailable, "empty body"),
        (Reply(b"gone", 404), ContractChanged, "HTTP 404"),
    ],
)
def test_no_archive_is_said_so(files, listed, reply, failure, message):
    files["kospi"] = reply
    with pytest.raises(failure, match=message):
        listed()
