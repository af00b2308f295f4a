"""Recorded data served as the upstreams would have, and folders that cannot be."""

import csv
import gzip
import html
import io
import re
import zipfile
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from azak_assets import krx
from azak_assets.sandbox import RecordedDataError, RecordedWorld

KEYS = {"X-Naver-Client-Id": "an-id", "X-Naver-Client-Secret": "a-secret"}


@pytest.fixture
def recorded_http(start, recorded):
    return start(recorded)


def _all(http, query):
    items = []
    for first in range(1, 1001, 100):
        page = http.get(
            "/naver/v1/search/news.json",
            params={"query": query, "display": 100, "start": first, "sort": "date"},
            headers=KEYS,
        ).json()["items"]
        items += page
        if len(page) < 100:
            break
    return items


def _identity(title, url):
    number = re.search(r"article_id=(\d+)&office_id=(\d+)", url)
    return number.groups() if number else title


def test_every_recorded_bar_is_served_to_the_won(recorded_http, make_broker, recorded_data):
    with gzip.open(recorded_data / "2022-01" / "daily_bars.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        truth = {(row["stock_code"], row["trade_date"].replace("-", "")): row for row in csv.DictReader(lines)}
    broker = make_broker(recorded_http)
    codes = []
    for market in ("kospi", "kosdaq", "konex"):
        with zipfile.ZipFile(io.BytesIO(recorded_http.get(f"/kis-master/{market}_code.mst.zip").content)) as archive:
            codes += [line[:9].decode().strip() for line in archive.read(f"{market}_code.mst").splitlines()]
    assert len(codes) == len(set(codes)) == 2614
    recorded_sums = [sum(int(row[column]) for row in truth.values()) for column in ("volume", "turnover_krw")]
    rows = volume = turnover = halts = 0
    for code in codes:
        for row in broker.daily(code, "20220103", "20220128"):
            expected = truth.pop((code, row["stck_bsop_date"]))
            prices = ("stck_oprc", "stck_hgpr", "stck_lwpr", "stck_clpr")
            assert [row[key] for key in prices] == [expected[k] for k in ("open", "high", "low", "close")]
            rows += 1
            volume += int(row["acml_vol"])
            turnover += int(row["acml_tr_pbmn"])
            halts += row["stck_oprc"] == "0"
    assert truth == {}
    assert (rows, halts) == (52_171, 2136)
    assert [volume, turnover] == recorded_sums


def test_indices_are_served_in_the_units_of_the_wire(recorded_http, make_broker, recorded_data):
    with (recorded_data / "2022-01" / "index_bars_2022.csv").open(encoding="utf-8-sig", newline="") as lines:
        truth = {(row["index_name"], row["Date"].replace("-", "")): row for row in csv.DictReader(lines)}
    broker = make_broker(recorded_http)
    for code, name in (("0001", "KOSPI"), ("1001", "KOSDAQ"), ("2001", "KOSPI200")):
        rows = broker.index(code, "20220103", "20220128")
        assert len(rows) == 20
        for row in rows:
            expected = truth[name, row["stck_bsop_date"]]
            assert row["bstp_nmix_prpr"] == f"{float(expected['Close']):.2f}"
            assert int(row["acml_vol"]) == round(float(expected["Volume"]) / 1e3)
            assert int(row["acml_tr_pbmn"]) == round(float(expected["Amount"]) / 1e6)


def test_every_article_is_reachable_by_its_company_and_by_the_market(recorded_http, recorded_data):
    with (recorded_data / "2022-01" / "news.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    truth = {_identity(row["title"], row["url"]) for row in rows}
    assert (len(rows), len(truth)) == (918, 607)
    by_company = set()
    for name, code, count in (("현대차", "005380", 762), ("카카오뱅크", "323410", 156)):
        items = _all(recorded_http, name)
        labelled = {_identity(row["title"], row["url"]) for row in rows if row["stock_page_code"] == code}
        found = {_identity(html.unescape(re.sub("</?b>", "", item["title"])), item["link"]) for item in items}
        assert labelled <= found
        assert len(items) >= count
        by_company |= found
    market = _all(recorded_http, "증시")
    assert len(market) == 918
    by_market = {_identity(html.unescape(re.sub("</?b>", "", item["title"])), item["link"]) for item in market}
    assert by_company == by_market == truth
    moments = {parsedate_to_datetime(item["pubDate"]).time().isoformat() for item in market}
    assert moments == {"23:59:59"}
    assert sum(item["link"] == "" and item["originallink"] == "" for item in market) == 156
    assert _all(recorded_http, "이런회사는없다") == []


def test_filings_of_the_window_with_letters_and_stock_codes(recorded_http):
    rows, page, pages = [], 1, 1
    while page <= pages:
        query = {"crtfc_key": "k", "bgn_de": "20211231", "end_de": "20220103", "page_count": 100, "page_no": page}
        body = recorded_http.get("/opendart/api/list.json", params=query).json()
        rows, page, pages = rows + body["list"], page + 1, body["total_page"]
    assert len({row["rcept_no"] for row in rows}) == len(rows) == 497
    assert {letter for row in rows for letter in row["rm"]} == set("유코넥공정철")
    assert {row["corp_cls"] for row in rows} == {"Y", "K", "N", "E"}
    known = next(row for row in rows if row["corp_code"] == "00603348")
    assert known["stock_code"] == "093320"
    assert sum(bool(row["stock_code"]) for row in rows) > 250


def test_world_tells_what_is_recorded(recorded_http, recorded):
    body = recorded_http.get("/sandbox/world").json()
    assert re.fullmatch(r"replay:[0-9a-f]{12}", body["world"])
    assert (body["first_day"], body["last_day"]) == ("2022-01-03", "2022-01-28")
    assert set(body["feeds"]) == {
        "master", "daily_bars", "index_bars", "news", "disclosures", "corp_codes", "holidays", "llm",
    }  # fmt: skip


def test_a_feed_that_is_not_recorded_answers_with_nothing(recorded_http, make_broker):
    broker = make_broker(recorded_http)
    assert broker.minutes("005930", "153000", "20220103") == []
    assert broker.minutes("005930", "153000") == []
    assert "<item>" not in recorded_http.get("/hankyung/feed/finance").text


# --- folders written here ---------------------------------------------------------------------------------------------

BARS = """stock_code,name,market,trade_date,open,high,low,close,volume,turnover_krw,market_cap_krw,listed_shares
990010,가람물산,KOSPI,2022-01-03,1000,1100,990,1050,10,10400,1050000,1000
990010,가람물산,KOSPI,2022-01-04,0,0,0,1050,0,0,1050000,1000
"""
NEWS = "stock_page_code,title,press,published_date,url\n990010,가람물산 소식,,2022-01-03,\n"
INDEX = "Date,Close,Open,High,Low,Volume,Amount,index_name\n2022-01-03,100,101,102,99,5000.0,6000000.0,KOSPI\n"
FILINGS = (
    "market,corp_name,corp_code,report_nm,rcept_no,flr_nm,rcept_dt,rm\n"
    "유,가람물산,00000001,주주총회소집결의,20220103800001,가람물산,2022.01.03,\n"
)
CORPS = "corp_code,corp_name,corp_eng_name,stock_code,modify_date\n00000001,가람물산,Garam,990010,20220101\n"
FILES = {
    "news.csv": NEWS,
    "index_bars_x.csv": INDEX,
    "disclosures_x.csv": FILINGS,
    "corp_codes_x.csv": CORPS,
    "daily_bars.csv.gz": BARS,
}


def _write(folder: Path, name: str, text: str) -> None:
    content = text.encode()
    (folder / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "record"
    folder.mkdir()
    for name, text in FILES.items():
        _write(folder, name, text)
    return folder


def test_world_id_is_of_the_content_alone(folder, tmp_path):
    name = RecordedWorld(folder).name
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert RecordedWorld(moved).name == name
    _write(moved, "news.csv", NEWS.replace("소식", "공시"))
    assert RecordedWorld(moved).name != name


def test_company_list_may_lie_one_level_up(folder):
    (folder / "corp_codes_x.csv").rename(folder.parent / "corp_codes_2022.csv")
    world = RecordedWorld(folder)
    assert "corp_codes" in world.feeds
    day = krx.session_on_or_after(world.first_day).day
    assert world.filings(day, day, krx.session(day).open_at)[0].stock_code == "990010"


@pytest.mark.parametrize(
    ("file", "feed"),
    [("daily_bars.csv.gz", "daily_bars"), ("index_bars_x.csv", "index_bars"), ("news.csv", "news"),
     ("disclosures_x.csv", "disclosures"), ("corp_codes_x.csv", "corp_codes")],
)  # fmt: skip
def test_a_missing_file_only_takes_its_feed_away(folder, file, feed):
    assert feed in RecordedWorld(folder).feeds
    (folder / file).unlink()
    world = RecordedWorld(folder)
    assert feed not in world.feeds
    assert "llm" in world.feeds


@pytest.mark.parametrize(
    "column",
    [
        ("daily_bars.csv.gz", "turnover_krw"),
        ("news.csv", "url"),
        ("index_bars_x.csv", "Amount"),
        ("disclosures_x.csv", "rm"),
        ("corp_codes_x.csv", "modify_date"),
    ],
)
def test_a_missing_column_is_named_with_its_file(folder, column):
    file, name = column
    _write(folder, file, FILES[file].replace(name, "another", 1))
    with pytest.raises(RecordedDataError, match=rf"{re.escape(file)}: column '{name}' is missing in row 1"):
        RecordedWorld(folder)


@pytest.mark.parametrize(
    ("file", "old", "new", "column", "row"),
    [
        ("daily_bars.csv.gz", "1050,10,10400", "1050,ten,10400", "volume", 2),
        ("daily_bars.csv.gz", "1050,10,10400", "1050,-1,10400", "volume", 2),
        ("daily_bars.csv.gz", "1100,990", "980,990", "low", 2),
        ("daily_bars.csv.gz", "0,0,0,1050,0,0", "0,0,0,0,0,0", "close", 3),
        ("daily_bars.csv.gz", "2022-01-04", "2022-01-01", "trade_date", 3),
        ("daily_bars.csv.gz", "2022-01-04", "2022-01-03", "trade_date", 3),
        ("daily_bars.csv.gz", "990010,가람물산,KOSPI,2022-01-03", "99001,가람물산,KOSPI,2022-01-03", "stock_code", 2),
        ("daily_bars.csv.gz", "KOSPI,2022-01-04", "NASDAQ,2022-01-04", "market", 3),
        ("index_bars_x.csv", "6000000.0", "nan", "Amount", 2),
        ("index_bars_x.csv", "KOSPI", "NIKKEI", "index_name", 2),
        ("index_bars_x.csv", "100,101,102,99", "100,101,100.5,99", "Low", 2),
        ("index_bars_x.csv", "100,101,102,99", "100,101,102,100.5", "Low", 2),
        ("index_bars_x.csv", "100,101,102,99", "100,0,102,0", "Low", 2),
        ("news.csv", "2022-01-03", "03.01.2022", "published_date", 2),
        ("news.csv", "가람물산 소식", " ", "title", 2),
        ("disclosures_x.csv", "2022.01.03", "20220103", "rcept_dt", 2),
        ("disclosures_x.csv", "2022.01.03,", "2022.01.03,어떤 말", "rm", 2),
        ("disclosures_x.csv", "20220103800001", "2022010380000", "rcept_no", 2),
        ("disclosures_x.csv", "유,", "미,", "market", 2),
        ("corp_codes_x.csv", "20220101", "2022-01-01", "modify_date", 2),
    ],
)
def test_a_bad_value_is_named_with_file_column_and_row(folder, file, old, new, column, row):
    assert old in FILES[file]
    _write(folder, file, FILES[file].replace(old, new, 1))
    with pytest.raises(RecordedDataError) as refused:
        RecordedWorld(folder)
    message = str(refused.value)
    assert file in message
    assert f"column '{column}', row {row}:" in message
    assert "Expected" in message


def test_blank_lines_are_passed_over_and_counted(folder):
    now = krx.session(RecordedWorld(folder).first_day).open_at
    whole = RecordedWorld(folder)
    for name, text in FILES.items():
        header, _, rest = text.partition("\n")
        _write(folder, name, f"{header}\n\n{rest}\n  \r\n\n")
    spaced = RecordedWorld(folder)
    assert spaced.feeds == whole.feeds
    assert spaced.search("증시", now) == whole.search("증시", now)
    assert spaced.issues(now) == whole.issues(now)
    _write(folder, "news.csv", NEWS.replace("\n", "\n\n", 1).replace("2022-01-03", "gestern"))
    with pytest.raises(RecordedDataError, match="column 'published_date', row 3: 'gestern'"):
        RecordedWorld(folder)


def test_unreadable_files_and_folders_are_named(folder, tmp_path):
    whole = (folder / "daily_bars.csv.gz").read_bytes()
    damaged = whole[:20] + bytes(byte ^ 0xFF for byte in whole[20:40]) + whole[40:]
    for broken in (b"not gzip at all", whole[: len(whole) // 2], damaged, gzip.compress("가람물산".encode("cp949"))):
        (folder / "daily_bars.csv.gz").write_bytes(broken)
        with pytest.raises(RecordedDataError, match=r"daily_bars\.csv\.gz: .*Expected a readable gzip of UTF-8 CSV"):
            RecordedWorld(folder)
    (folder / "daily_bars.csv.gz").write_bytes(whole)
    _write(folder, "news.csv", NEWS + "990010,세 칸,뿐\n")
    with pytest.raises(RecordedDataError, match=r"news\.csv: row 3 has 3 values\. Expected 5"):
        RecordedWorld(folder)
    _write(folder, "news.csv", NEWS + f"990010,{'긴 제목' * 50_000},,2022-01-03,\n")
    with pytest.raises(
        RecordedDataError, match=r"news\.csv: row 3: field larger than field limit .*Expected a row of CSV"
    ):
        RecordedWorld(folder)
    _write(folder, "news.csv", "가" * 200_000 + "\n" + NEWS)
    with pytest.raises(RecordedDataError, match=r"news\.csv: row 1: field larger"):
        RecordedWorld(folder)
    with pytest.raises(RecordedDataError, match="no such folder"):
        RecordedWorld(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordedDataError, match="nothing to replay"):
        RecordedWorld(tmp_path / "empty")
