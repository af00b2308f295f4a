"""OpenDART, the disclosure service of the Financial Supervisory Service: filings and company codes.

Put here its paging, status codes and field names. DART answers every documented case with HTTP 200 and says in `status`
what happened; it gives a filing a date and no time. Source: the official guide (opendart.fss.or.kr/guide).

Does not belong here: which filing a correction corrects (`text.filings`).
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from xml.etree import ElementTree as ET

from azak_assets import krx
from azak_assets.ports import Channel
from azak_assets.sources.answer import Answer, payload_hash, undeclared_xml
from azak_assets.sources.failures import ContractChanged, Empty, RateLimited, SourceFailure, Unauthorized, Unavailable
from azak_assets.sources.fields import Refused, Row, day, optional_text, parse_rows, text
from azak_assets.sources.records import Batch, CorpCode, Filing, Reject
from azak_assets.sources.transport import Transport

UPSTREAM = "opendart"
PAGE_ROWS = 100
WINDOW_DAYS = 89
"""Without a company the guide allows three months; the shortest three are February to April, 89 days."""

CALLS_A_DAY = 20_000
"""The guide: "usually 20,000 and more"; a key's own figure may be higher, DART alone knows."""

OK, NO_DATA, QUOTA_USED = "000", "013", "020"
KEY_REFUSED = frozenset({"010", "011", "012", "901"})
DOWN = frozenset({"800", "900"})

_NUMBER = re.compile(r"\d{14}", re.ASCII)
_CORRECTION = re.compile(r"\[([^\[\]]+)\]")
_END_OF_DAY = time_of_day(23, 59, 59)


class OpenDartClient:
    """Access with one key, safe to share between threads. All methods raise `SourceFailure`s."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        channel: Channel,
        per_second: float = 10,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._key = {"crtfc_key": api_key}
        self._http = Transport(
            UPSTREAM,
            base_url,
            channel=channel,
            per_second=per_second,
            per_day=CALLS_A_DAY,
            secrets=(api_key,),
            sleep=sleep,
        )

    def filings(self, start: date, end: date) -> Batch[Filing]:
        """Every filing received on `start` … `end` (KST dates), corrections included, by receipt number.

        No filing at all is a success: markets and registries close. Longer ranges are asked in windows of 89 days, 100
        filings a call. Filings that arrive while the pages are read may wait for the next call, none that was there at
        its start is lost. Raises `ValueError` for a reversed range.
        """
        if start > end:
            raise ValueError(f"the first day asked, {start}, is after the last, {end}")
        bodies: list[bytes] = []
        filings: dict[str, Filing] = {}
        rejects: list[Reject] = []
        for first, last in _windows(start, end):
            found, refused = self._window(first, last, bodies)
            filings.update((filing.rcept_no, filing) for filing in found)
            rejects.extend(refused)
        return Batch([filings[number] for number in sorted(filings)], rejects, len(bodies), payload_hash(bodies))

    def corp_codes(self) -> Batch[CorpCode]:
        """Every company DART knows, about 110,000, listed or not."""
        content, body = self._http.ask(
            lambda answer: (_corp_code_file(answer), answer.body), "/corpCode.xml", params=self._key
        )
        rows = ({child.tag: child.text for child in company} for company in content.iter("list"))
        records, rejects = parse_rows(rows, _corp_code)
        if not records and not rejects:
            raise Empty(UPSTREAM, "the list of companies is empty")
        return Batch(records, rejects, 1, payload_hash([body]))

    def filed_on(self, day: date) -> int:
        """How many filings DART has of a day (KST): one call, for whoever only wants to know that it answers."""
        query = {"bgn_de": f"{day:%Y%m%d}", "end_de": f"{day:%Y%m%d}", "page_no": "1", "page_count": "1"}
        page = self._http.ask(_page, "/list.json", params={**self._key, **query})
        return 0 if page["status"] == NO_DATA else int(page["total_count"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _window(self, first: date, last: date, bodies: list[bytes]) -> tuple[list[Filing], list[Reject]]:
        def read(answer: Answer) -> dict[str, Any]:
            page = _page(answer)
            bodies.append(answer.body)
            return page

        rows: dict[str, Row] = {}
        unnumbered: list[Any] = []
        announced: int | None = None
        last_page: list[Any] | None = None
        page_no, pages = 1, 1
        while page_no <= pages:
            query = {
                "bgn_de": f"{first:%Y%m%d}",
                "end_de": f"{last:%Y%m%d}",
                "page_no": str(page_no),
                "page_count": str(PAGE_ROWS),
            }
            page = self._http.ask(read, "/list.json", params={**self._key, **query})
            if page["status"] == NO_DATA:
                break
            # A filing that arrives meanwhile shifts the others onto the next page, where they come a second time.
            for row in page["list"]:
                number = row.get("rcept_no") if isinstance(row, dict) else None
                if isinstance(number, str) and _NUMBER.fullmatch(number.strip()):
                    rows[number.strip()] = row
                else:
                    unnumbered.append(row)
            pages = page["total_page"]
            announced = page["total_count"] if announced is None else announced
            page_no += 1
            # Whatever number of pages it announces: the day's quota is not spent on the same page again and again.
            if page["list"] == last_page:
                break
            last_page = page["list"]
        came = len(rows) + len(unnumbered)
        if came < (announced or 0):
            what = f"{came} of {announced} filings came for {first} … {last}"
            raise Unavailable(UPSTREAM, what, url="/list.json")
        return parse_rows([*rows.values(), *unnumbered], lambda row: _filing(row, first, last))


def _windows(start: date, end: date) -> Iterator[tuple[date, date]]:
    while start <= end:
        last = min(end, start + timedelta(days=WINDOW_DAYS - 1))
        yield start, last
        start = last + timedelta(days=1)


def _page(answer: Answer) -> dict[str, Any]:
    body = answer.json_object()
    status = body.get("status")
    if status == NO_DATA:
        return body
    if status != OK:
        answer.raise_for_status()
        raise _failure(str(status), str(body.get("message", "")), answer)
    if not isinstance(body.get("list"), list):
        raise ContractChanged(UPSTREAM, "status 000 without a list of filings", url=answer.url)
    for name in ("total_page", "total_count"):
        if not isinstance(body.get(name), int):
            raise ContractChanged(UPSTREAM, f"{name} is {body.get(name)!r}, not a number", url=answer.url)
    return body


def _failure(status: str, message: str, answer: Answer) -> SourceFailure:
    what = f"status {status}: {message}"
    if status in KEY_REFUSED:
        return Unauthorized(UPSTREAM, what, url=answer.url, advice="Check OPENDART_API_KEY and the key's state at DART")
    if status == QUOTA_USED:
        advice = "The day's quota of this key is used up: run again after midnight KST"
        return RateLimited(UPSTREAM, what, url=answer.url, advice=advice, action="stop")
    if status in DOWN:
        return Unavailable(UPSTREAM, what, url=answer.url)
    return ContractChanged(UPSTREAM, what, url=answer.url)


def _filing(row: Row, first: date, last: date) -> Filing:
    rcept_dt = day(row, "rcept_dt")
    if not first <= rcept_dt <= last:
        raise Refused("rcept_dt", rcept_dt, f"is outside the days asked, {first} … {last}")
    report_nm = text(row, "report_nm")
    correction = _CORRECTION.match(report_nm)
    return Filing(
        rcept_no=_digits(row, "rcept_no", 14),
        corp_code=_digits(row, "corp_code", 8),
        corp_name=text(row, "corp_name"),
        stock_code=_stock_code(row),
        corp_cls=text(row, "corp_cls"),
        report_nm=report_nm,
        filer_name=text(row, "flr_nm"),
        rcept_dt=rcept_dt,
        rm=optional_text(row, "rm"),
        correction_kind=correction[1].strip() if correction else None,
        known_at=datetime.combine(rcept_dt, _END_OF_DAY, tzinfo=krx.KST),
    )


def _corp_code(row: Row) -> CorpCode:
    return CorpCode(
        corp_code=_digits(row, "corp_code", 8),
        corp_name=text(row, "corp_name"),
        corp_eng_name=optional_text(row, "corp_eng_name"),
        stock_code=_stock_code(row),
        modified_on=day(row, "modify_date"),
    )


def _digits(row: Row, field: str, length: int) -> str:
    value = text(row, field)
    if not (value.isascii() and value.isdigit() and len(value) == length):
        raise Refused(field, value, f"is not a number of {length} digits")
    return value


def _stock_code(row: Row) -> str | None:
    code = optional_text(row, "stock_code")
    if code is not None and not krx.is_stock_code(code):
        raise Refused("stock_code", code, "is not a stock code of six characters")
    return code


def _corp_code_file(answer: Answer) -> ET.Element:
    # A success is a zip archive, an error plain XML, with or without its declaration.
    is_archive = answer.body.startswith(b"PK")
    if answer.is_success and not is_archive and answer.text.lstrip().startswith(("<?xml", "<result")):
        result = _xml(answer, answer.body)
        raise _failure(result.findtext("status", "?"), result.findtext("message", ""), answer)
    return _xml(answer, answer.unzipped())


def _xml(answer: Answer, content: bytes) -> ET.Element:
    # The standard parser: expat has bounded entity expansion since 2.4.1, and the sender is a government service. It
    # reads no Korean encoding, so it gets text.
    try:
        return ET.fromstring(undeclared_xml(content))  # noqa: S314
    except ET.ParseError as error:
        raise Unavailable(UPSTREAM, f"broken XML of {len(content)} bytes: {error}", url=answer.url) from None
