"""DART's API: paging, filters, statuses and the company list."""

import io
import zipfile
from datetime import timedelta
from xml.etree import ElementTree

import pytest
from conftest import kst

from azak_assets.sandbox import Limits


def _list(http, **query):
    answer = http.get("/opendart/api/list.json", params={"crtfc_key": "k", **query})
    assert answer.status_code == 200
    return answer.json()


def test_a_days_filings_come_in_pages(http):
    first = _list(http, bgn_de="20261119", end_de="20261119", page_count="20")
    assert (first["status"], first["page_no"], first["page_count"]) == ("000", 1, 20)
    assert 40 <= first["total_count"] <= 250
    assert first["total_page"] == -(-first["total_count"] // 20)
    rows = []
    for page in range(1, first["total_page"] + 1):
        rows += _list(http, bgn_de="20261119", end_de="20261119", page_count="20", page_no=str(page))["list"]
    assert len(rows) == first["total_count"]
    assert len({row["rcept_no"] for row in rows}) == len(rows)
    assert all(len(row["rcept_no"]) == 14 and len(row["corp_code"]) == 8 for row in rows)
    assert {row["rcept_dt"] for row in rows} == {"20261119"}
    assert any(not row["rcept_no"].startswith("20261119") for row in rows)
    assert any(row["stock_code"] == "" for row in rows)
    assert any(row["stock_code"] for row in rows)
    assert {row["rm"] for row in rows} <= {"", "유", "코", "넥", "공", "정", "유정", "코정", "넥정", "공정"}
    past_the_end = _list(http, bgn_de="20261119", end_de="20261119", page_no=str(first["total_page"] + 1))
    assert past_the_end["status"] in {"000", "013"}


def test_no_filing_means_status_013_without_a_list(http):
    saturday = _list(http, bgn_de="20261114", end_de="20261115")
    assert saturday == {"status": "013", "message": "조회된 데이타가 없습니다."}


def test_filters_and_order(http):
    week = {"bgn_de": "20261116", "end_de": "20261119", "page_count": "100"}
    exchange = _list(http, **week, pblntf_ty="I")
    assert all(row["rm"][:1] in {"유", "코", "넥"} for row in exchange["list"])
    assert {row["corp_cls"] for row in _list(http, **week, corp_cls="K")["list"]} == {"K"}
    code = exchange["list"][0]["corp_code"]
    assert {row["corp_code"] for row in _list(http, **week, corp_code=code)["list"]} == {code}
    oldest_first = [row["rcept_dt"] for row in _list(http, **week, sort_mth="asc")["list"]]
    assert oldest_first == sorted(oldest_first)
    assert oldest_first[0] == "20261116"
    final = _list(http, **week, last_reprt_at="Y")["total_count"]
    assert final < _list(http, **week)["total_count"]


def test_a_correction_names_its_report_and_marks_the_first_version(start, seeded, clock):
    http = start(seeded, clock=clock)
    month = {"bgn_de": "20261019", "end_de": "20261120", "page_count": "100"}
    pages = _list(http, **month)["total_page"]
    rows = [row for page in range(1, pages + 1) for row in _list(http, **month, page_no=str(page))["list"]]
    corrected = [row for row in rows if row["report_nm"].startswith("[기재정정]")]
    assert len(corrected) > 20
    settled = [row for row in corrected if row["rcept_dt"] >= "20261026"]
    for correction in settled:
        firsts = [
            row for row in rows
            if row["corp_code"] == correction["corp_code"] and "정" in row["rm"]
            and row["report_nm"] == correction["report_nm"].removeprefix("[기재정정]")
        ]  # fmt: skip
        assert firsts, correction
        assert any(row["rcept_dt"] <= correction["rcept_dt"] for row in firsts)
    # Before the correction was filed the first version carried no mark.
    late = next(
        (c, f) for c in settled for f in rows
        if f["corp_code"] == c["corp_code"] and f["rm"].endswith("정") and f["rcept_dt"] < c["rcept_dt"]
        and f["report_nm"] == c["report_nm"].removeprefix("[기재정정]")
    )  # fmt: skip
    correction, first = late
    day = correction["rcept_dt"]
    clock.now = kst(int(day[:4]), int(day[4:6]), int(day[6:]), 7, 0)
    before = _list(http, bgn_de=first["rcept_dt"], end_de=first["rcept_dt"], corp_code=first["corp_code"])
    same = next(row for row in before["list"] if row["rcept_no"] == first["rcept_no"])
    assert same["rm"] == first["rm"].removesuffix("정")


def test_todays_filings_arrive_through_the_day(start, seeded, clock):
    http = start(seeded, clock=clock)
    counts = []
    for hour in (7, 12, 15, 18):
        clock.now = kst(2026, 11, 20, hour, 0)
        counts.append(_list(http).get("total_count", 0))
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1] < counts[3]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"crtfc_key": ""}, "100"),
        ({"crtfc_key": "invalid-key"}, "010"),
        ({"page_count": "101"}, "100"),
        ({"page_no": "0"}, "100"),
        ({"bgn_de": "2026-11-01"}, "100"),
        ({"sort": "size"}, "100"),
        ({"bgn_de": "20260801", "end_de": "20261120"}, "100"),
    ],
)
def test_refusals_are_statuses(http, query, status):
    assert _list(http, **query)["status"] == status


def test_a_days_quota_is_one_for_both_services_and_ends_at_midnight(start, seeded, clock):
    assert Limits().opendart_a_day == 20_000
    http = start(seeded, clock=clock, limits=Limits(opendart_a_day=3))
    assert [_list(http)["status"] for _ in range(2)] == ["000"] * 2
    assert http.get("/opendart/api/corpCode.xml", params={"crtfc_key": "k"}).content[:2] == b"PK"
    assert _list(http) == {"status": "020", "message": "사용한도를 초과하였습니다."}
    refused = http.get("/opendart/api/corpCode.xml", params={"crtfc_key": "k"})
    assert ElementTree.fromstring(refused.content).findtext("status") == "020"
    assert _list(http, crtfc_key="invalid")["status"] == "010"
    assert _list(http, crtfc_key="another")["status"] == "000"
    clock.now = kst(2026, 11, 21, 0, 0)
    assert _list(http, bgn_de="20261120", end_de="20261120")["status"] == "000"


def test_several_people_file_and_correct_reports_of_one_name_about_one_company(seeded, clock):
    """The trap of a correction whose newest namesake is another person's filing."""
    last, trapped = {}, 0
    for filing in seeded.filings(kst(2026, 8, 20).date(), clock.now.date(), clock.now):
        about = filing.corp_code, filing.report_nm.removeprefix("[기재정정]")
        if filing.report_nm.startswith("[기재정정]"):
            trapped += last.get(about, filing.filer_name) != filing.filer_name
        last[about] = filing.filer_name
    assert trapped >= 3


def test_a_long_period_is_allowed_for_one_company(http, seeded, clock):
    code = seeded.filings(clock.now.date() - timedelta(days=3), clock.now.date(), clock.now)[0].corp_code
    assert _list(http, bgn_de="20260101", end_de="20261120", corp_code=code)["status"] == "000"


def test_company_list_is_a_zip_and_an_error_is_not(http, seeded, clock):
    answer = http.get("/opendart/api/corpCode.xml", params={"crtfc_key": "k"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        root = ElementTree.fromstring(archive.read("CORPCODE.xml"))
    rows = [{part.tag: part.text for part in row} for row in root.findall("list")]
    assert set(rows[0]) == {"corp_code", "corp_name", "corp_eng_name", "stock_code", "modify_date"}
    assert {row["stock_code"] for row in rows if not row["stock_code"].strip()} == {" "}
    listed = {row["stock_code"] for row in rows if row["stock_code"] != " "}
    assert {issue.code for issue in seeded.issues(clock.now) if not issue.is_preferred} <= listed
    names = [row["corp_name"] for row in rows]
    assert len(names) > len(set(names))
    refused = http.get("/opendart/api/corpCode.xml", params={"crtfc_key": "invalid"})
    assert refused.content[:2] != b"PK"
    assert ElementTree.fromstring(refused.content).findtext("status") == "010"
