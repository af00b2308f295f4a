"""OpenDART: paging, three-month windows, corrections, status codes, and the list of companies in its zip archive."""

import io
import json
import logging
import zipfile
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import httpx
import pytest
from local_servers import Reply

from azak_assets.sources.failures import ContractChanged, Empty, RateLimited, Unauthorized, Unavailable
from azak_assets.sources.opendart import OpenDartClient

KST = ZoneInfo("Asia/Seoul")
KEY = "0123456789abcdef0123456789abcdef01234567"
DAY = date(2026, 11, 3)
NO_DATA = {"status": "013", "message": "조회된 데이타가 없습니다."}


def filing(number, day=DAY, **changes):
    row = {
        "corp_code": "00126380", "corp_name": "삼성전자", "stock_code": "005930", "corp_cls": "Y",
        "report_nm": "주요사항보고서(자기주식취득결정)", "rcept_no": f"{day:%Y%m%d}{number:06d}", "flr_nm": "삼성전자",
        "rcept_dt": f"{day:%Y%m%d}", "rm": "",
    }  # fmt: skip
    return {**row, **changes}


class Dart:
    """DART's list and company file over HTTP; `filings` newest last, pages newest first as the service sorts them."""

    def __init__(self):
        self.filings = []
        self.faults = []
        self.corp_file = b""
        self.while_paging = lambda page: None

    def answer(self, request):
        if self.faults:
            return self.faults.pop(0)
        if request.path == "/api/corpCode.xml":
            return Reply(self.corp_file, headers={"content-type": "application/x-msdownload"})
        assert request.path == "/api/list.json"
        query = request.query
        first, last = query["bgn_de"], query["end_de"]
        if date.fromisoformat(last) - date.fromisoformat(first) > timedelta(days=89):
            return Reply({"status": "100", "message": "corp_code가 없는 경우 검색기간은 3개월만 가능합니다."})
        size, page = int(query["page_count"]), int(query["page_no"])
        found = [row for row in self.filings if first <= row["rcept_dt"] <= last][::-1]
        rows = found[(page - 1) * size : page * size]
        self.while_paging(page)
        if not rows:
            return Reply(NO_DATA)
        return Reply({
            "status": "000", "message": "정상", "page_no": page, "page_count": size,
            "total_count": len(found), "total_page": -(-len(found) // size), "list": rows,
        })  # fmt: skip


@pytest.fixture
def dart():
    return Dart()


@pytest.fixture
def server(dart, serve):
    return serve(dart.answer)


@pytest.fixture
def client(server, channel, clock):
    client = OpenDartClient(server.url + "/api", api_key=KEY, channel=channel, per_second=1000, sleep=clock.sleep)
    yield client
    client.close()


def test_a_filing_is_known_at_the_end_of_its_day(dart, client, server):
    dart.filings = [filing(1, rm="유", report_nm="분기보고서 (2026.09)   ")]
    batch = client.filings(DAY, DAY)
    (found,) = batch.records
    assert (found.rcept_no, found.corp_code, found.stock_code) == ("20261103000001", "00126380", "005930")
    assert (found.corp_name, found.filer_name, found.corp_cls) == ("삼성전자", "삼성전자", "Y")
    assert (found.report_nm, found.rm, found.correction_kind) == ("분기보고서 (2026.09)", "유", None)
    assert (found.rcept_dt, found.known_at) == (DAY, datetime(2026, 11, 3, 23, 59, 59, tzinfo=KST))
    assert server.requests[0].query == {
        "crtfc_key": KEY, "bgn_de": "20261103", "end_de": "20261103", "page_no": "1", "page_count": "100",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("report_nm", "kind"),
    [
        ("[기재정정]사업보고서 (2025.12)", "기재정정"),
        ("[첨부정정]감사보고서", "첨부정정"),
        ("[발행조건확정]증권신고서(지분증권)", "발행조건확정"),
        ("[기재정정][첨부추가]투자설명서", "기재정정"),
        ("투자설명서[정정]", None),
    ],
)
def test_a_correction_says_its_kind_and_keeps_its_title(dart, client, report_nm, kind):
    dart.filings = [filing(1, report_nm=report_nm, rm="코정")]
    (found,) = client.filings(DAY, DAY).records
    assert (found.correction_kind, found.report_nm, found.rm) == (kind, report_nm, "코정")


def test_every_page_is_read(dart, client):
    dart.filings = [filing(n) for n in range(1, 502)]
    batch = client.filings(DAY, DAY)
    assert [f.rcept_no for f in batch.records] == [f"20261103{n:06d}" for n in range(1, 502)]
    assert batch.requests == 6


def test_filings_that_arrive_while_paging_lose_and_repeat_none(dart, client):
    dart.filings = [filing(n) for n in range(1, 251)]
    dart.while_paging = lambda page: dart.filings.append(filing(1000 + page))
    numbers = [f.rcept_no for f in client.filings(DAY, DAY).records]
    assert len(numbers) == len(set(numbers))
    assert {f"20261103{n:06d}" for n in range(1, 251)} <= set(numbers)


def test_a_day_without_filings_is_a_success(client):
    batch = client.filings(date(2026, 11, 1), date(2026, 11, 1))
    assert (batch.records, batch.rejects, batch.requests) == ([], [], 1)


def test_a_year_is_asked_in_windows_that_cover_it_once(dart, client, server):
    first, last = date(2026, 1, 1), date(2026, 12, 31)
    dart.filings = [filing(n, first + timedelta(days=n)) for n in range(365)]
    assert len(client.filings(first, last).records) == 365
    windows = sorted({(r.query["bgn_de"], r.query["end_de"]) for r in server.requests})
    assert windows[0][0] == "20260101"
    assert windows[-1][1] == "20261231"
    for (_, end), (start, _) in pairwise(windows):
        assert date.fromisoformat(start) - date.fromisoformat(end) == timedelta(days=1)


def test_the_shortest_three_months_are_one_window(client, server):
    client.filings(date(2026, 2, 1), date(2026, 4, 30))
    assert len(server.requests) == 1


@pytest.mark.parametrize("stock_code", ["", " ", None])
def test_an_unlisted_company_has_no_stock_code(dart, client, stock_code):
    dart.filings = [filing(1, stock_code=stock_code, corp_cls="E")]
    (found,) = client.filings(DAY, DAY).records
    assert (found.stock_code, found.corp_cls) == (None, "E")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rcept_no": "2026110300001"}, "rcept_no"),
        ({"corp_code": "삼성"}, "corp_code"),
        ({"stock_code": "5930"}, "stock_code"),
        ({"report_nm": "   "}, "report_nm"),
        ({"corp_name": 126380}, "corp_name"),
    ],
)
def test_a_bad_filing_is_refused_and_the_others_land(dart, client, changes, field):
    dart.filings = [filing(1), filing(2, **changes), filing(3)]
    batch = client.filings(DAY, DAY)
    assert len(batch.records) == 2
    assert [r.field for r in batch.rejects] == [field]


@pytest.mark.parametrize(
    "numbers", [["", ""], [None, None], ["접수번호", "접수번호"], ["", "2026110300001"], [20261103, 1]]
)
def test_filings_without_a_receipt_number_are_put_aside_and_the_others_land(dart, client, numbers):
    nameless = [filing(2, rcept_no=number) for number in numbers]
    dart.filings = [*(filing(n) for n in range(3, 150)), *nameless, filing(1)]
    batch = client.filings(DAY, DAY)
    assert (len(batch.records), batch.requests) == (148, 2)
    assert [reject.field for reject in batch.rejects] == ["rcept_no"] * 2


def test_a_row_that_is_no_filing_at_all_is_put_aside(dart, client):
    dart.faults = [
        Reply({"status": "000", "total_count": 3, "total_page": 1, "list": [None, "공시", filing(1)]})
    ]  # fmt: skip
    batch = client.filings(DAY, DAY)
    assert (len(batch.records), len(batch.rejects)) == (1, 2)


def test_a_filing_of_another_day_is_refused(dart, client):
    dart.filings = [filing(1)]
    dart.faults = [
        Reply({"status": "000", "total_count": 1, "total_page": 1, "list": [filing(2, date(2026, 11, 4))]})
    ]  # fmt: skip
    batch = client.filings(DAY, DAY)
    assert batch.records == []
    assert "outside the days asked" in batch.rejects[0].reason


@pytest.mark.parametrize("status", ["010", "011", "012", "901"])
def test_a_refused_key_stops_at_once_and_is_not_in_the_message(dart, client, server, status):
    dart.faults = [Reply({"status": status, "message": f"등록되지 않은 키입니다. {KEY}"})]
    with pytest.raises(Unauthorized, match=f"status {status}.*OPENDART_API_KEY") as caught:
        client.filings(DAY, DAY)
    assert KEY not in str(caught.value)
    assert "crtfc_key=***" in str(caught.value)
    assert len(server.requests) == 1


def test_a_used_up_quota_stops_until_tomorrow(dart, client, server):
    dart.faults = [Reply({"status": "020", "message": "요청 제한을 초과하였습니다."})]
    with pytest.raises(RateLimited, match="after midnight KST") as caught:
        client.filings(DAY, DAY)
    assert caught.value.action == "stop"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["800", "900"])
def test_maintenance_is_waited_out_and_then_unavailable(dart, client, status):
    dart.filings = [filing(1)]
    dart.faults = [Reply({"status": status, "message": "점검"})]
    assert len(client.filings(DAY, DAY).records) == 1
    dart.faults = [Reply({"status": status, "message": "점검"})] * 10
    with pytest.raises(Unavailable, match=f"status {status}"):
        client.filings(DAY, DAY)


@pytest.mark.parametrize(
    ("reply", "failure", "message"),
    [
        (Reply({"status": "100", "message": "필드의 부적절한 값입니다."}), ContractChanged, "status 100"),
        (Reply({"status": "000", "total_page": 1, "total_count": 1}), ContractChanged, "without a list"),
        (Reply({"status": "000", "total_page": "한", "total_count": 1, "list": []}), ContractChanged, "total_page"),
        (Reply(b"<html>error</html>"), ContractChanged, "a page came instead of JSON"),
        (Reply({"message": "?"}), ContractChanged, "status None"),
    ],
)
def test_an_answer_outside_the_contract(dart, client, reply, failure, message):
    dart.faults = [reply]
    with pytest.raises(failure, match=message) as caught:
        client.filings(DAY, DAY)
    assert KEY not in str(caught.value)


def test_pages_that_hold_fewer_filings_than_announced_are_not_accepted(dart, client):
    dart.faults = [Reply({"status": "000", "total_count": 3, "total_page": 1, "list": [filing(1)]})]
    with pytest.raises(Unavailable, match="1 of 3 filings came"):
        client.filings(DAY, DAY)


def test_a_server_that_announces_pages_without_end_is_not_asked_for_all_of_them(dart, client, server):
    page = {"status": "000", "message": "정상", "total_count": 10**9, "total_page": 10**7, "list": [filing(1)]}
    dart.faults = [Reply(page) for _ in range(50)]
    with pytest.raises(Unavailable, match="1 of 1000000000 filings came"):
        client.filings(DAY, DAY)
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["삼성\x00전자", "삼성\ud800"])
def test_a_filing_with_what_no_database_keeps_is_refused_and_the_others_land(dart, client, name):
    dart.filings = [filing(1), filing(2, corp_name=name)]
    # Escaped, as JSON may write it.
    rows = {"status": "000", "message": "", "total_count": 2, "total_page": 1, "list": dart.filings}
    dart.faults = [Reply(json.dumps(rows).encode())]
    batch = client.filings(DAY, DAY)
    assert [one.rcept_no for one in batch.records] == ["20261103000001"]
    assert [(one.field, one.reason) for one in batch.rejects] == [
        ("corp_name", "holds a NUL or half a character, which no database keeps")
    ]


def test_the_key_stays_out_of_errors_of_the_network_and_out_of_the_logs(dart, client, channel, clock, caplog):
    lost = OpenDartClient("http://127.0.0.1:9/api", api_key=KEY, channel=channel, per_second=1000, sleep=clock.sleep)
    with caplog.at_level(logging.DEBUG), pytest.raises(Unavailable) as caught:
        lost.filings(DAY, DAY)
    lost.close()
    assert KEY not in str(caught.value)
    dart.filings = [filing(1)]
    with caplog.at_level(logging.DEBUG):
        client.filings(DAY, DAY)
    assert "crtfc_key=***" in caplog.text, "httpx logs the request; without its line this test proves nothing"
    assert KEY not in caplog.text


def test_the_filter_leaves_other_lines_of_httpx_alone(caplog):
    with caplog.at_level(logging.INFO, logger="httpx"):
        logging.getLogger("httpx").info("%s %d", httpx.URL("http://x.test/a?q=1"), 7)
        logging.getLogger("httpx").info("plain")
    assert [record.getMessage() for record in caplog.records] == ["http://x.test/a?q=1 7", "plain"]


CORPS = """<?xml version="1.0" encoding="UTF-8"?><result>
<list><corp_code>00126380</corp_code><corp_name>삼성전자</corp_name><corp_eng_name>SAMSUNG ELECTRONICS</corp_eng_name>
<stock_code>005930</stock_code><modify_date>20260201</modify_date></list>
<list><corp_code>00434003</corp_code><corp_name>비상장 &amp; 회사</corp_name><stock_code> </stock_code>
<modify_date>20170630</modify_date></list>
<list><corp_code>0043400</corp_code><corp_name>짧은번호</corp_name><stock_code> </stock_code>
<modify_date>20170630</modify_date></list></result>"""


def archive(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("CORPCODE.xml", content)
    return buffer.getvalue()


def test_companies_are_read_from_the_archive(dart, client):
    dart.corp_file = archive(CORPS)
    batch = client.corp_codes()
    listed, unlisted = batch.records
    assert (listed.corp_code, listed.stock_code, listed.corp_eng_name) == ("00126380", "005930", "SAMSUNG ELECTRONICS")
    assert listed.modified_on == date(2026, 2, 1)
    assert (unlisted.corp_name, unlisted.stock_code, unlisted.corp_eng_name) == ("비상장 & 회사", None, None)
    assert [(r.field, r.value) for r in batch.rejects] == [("corp_code", "0043400")]


@pytest.mark.parametrize("declared", ["UTF-8", "EUC-KR", "CP949", "ks_c_5601-1987"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_companies_are_read_whatever_their_file_says_about_its_encoding(dart, client, declared, encoding):
    dart.corp_file = archive(CORPS.replace("UTF-8", declared).replace("비상장", "뷁 비상장").encode(encoding))
    listed, unlisted = client.corp_codes().records
    assert (listed.corp_name, unlisted.corp_name) == ("삼성전자", "뷁 비상장 & 회사")


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="EUC-KR"?>\n', "\n  "])
def test_an_error_keeps_its_status_without_a_declaration_and_in_any_encoding(dart, client, declaration, encoding):
    words = "<result><status>020</status><message>요청 제한을 초과</message></result>"
    dart.corp_file = (declaration + words).encode(encoding)
    with pytest.raises(RateLimited, match="status 020: 요청 제한을 초과"):
        client.corp_codes()


@pytest.mark.parametrize(
    ("body", "failure", "message"),
    [
        (
            '<?xml version="1.0" encoding="UTF-8"?><result><status>010</status><message>미등록 키</message></result>',
            Unauthorized,
            "status 010: 미등록 키",
        ),
        (
            '<?xml version="1.0" encoding="UTF-8"?><result><status>020</status><message>초과</message></result>',
            RateLimited,
            "status 020",
        ),
        ("<html>error</html>", ContractChanged, "no zip archive came"),
        ("", Unavailable, "empty body"),
    ],
)
def test_an_error_in_place_of_the_archive_is_told_apart(dart, client, body, failure, message):
    dart.corp_file = body.encode()
    with pytest.raises(failure, match=message):
        client.corp_codes()


def test_a_damaged_archive_or_document_is_unavailable(dart, client):
    dart.corp_file = archive(CORPS)[:100]
    with pytest.raises(Unavailable, match="damaged zip"):
        client.corp_codes()
    dart.corp_file = archive(CORPS[:200])
    with pytest.raises(Unavailable, match="broken XML"):
        client.corp_codes()


def test_an_empty_list_of_companies_is_empty(dart, client):
    dart.corp_file = archive("<result></result>")
    with pytest.raises(Empty):
        client.corp_codes()
