"""DART's open API: the filing list with its paging and statuses, and the zipped company list.

Every documented answer is HTTP 200; what went wrong is the `status`. Field names and statuses of the service's guide
belong here, the filings themselves to a world.
"""

import io
import zipfile
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.wire.limits import PerDay
from azak_assets.sandbox.worlds.world import Filing, UpstreamData

_MESSAGES = {
    "000": "정상",
    "010": "등록되지 않은 인증키입니다.",
    "013": "조회된 데이타가 없습니다.",
    "020": "사용한도를 초과하였습니다.",
    "100": "필드의 부적절한 값입니다.",
}


class StatusError(Exception):
    """An answer without data: its status and what is said after the status's own words."""

    def __init__(self, status: str, detail: str = "") -> None:
        super().__init__(status)
        self.status, self.message = status, f"{_MESSAGES[status]}{detail}"


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    if not query.get(name):
        return default
    try:
        return datetime.strptime(query[name], "%Y%m%d").replace(tzinfo=krx.KST).date()
    except ValueError:
        raise StatusError("100", f"({name})") from None


def _whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise StatusError("100", f"({name})")
    return int(text)


def _one_of(query: Mapping[str, str], name: str, default: str, allowed: str) -> str:
    value = query.get(name) or default
    if value not in allowed.split():
        raise StatusError("100", f"({name})")
    return value


def _three_months_after(day: date) -> date:
    year, month = day.year + (day.month + 2) // 12, (day.month + 2) % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


class Service:
    """The two calls over a world, and one quota for both."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime], a_day: PerDay) -> None:
        self._world = world
        self._clock = clock
        self._a_day = a_day

    def _check_key(self, query: Mapping[str, str]) -> None:
        key = query.get("crtfc_key", "")
        if not key:
            raise StatusError("100", "(crtfc_key)")
        if key.startswith("invalid"):
            raise StatusError("010")
        if not self._a_day.admits(key):
            raise StatusError("020")

    def filings(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`/list.json`: one page, newest first unless asked otherwise. Without corp_code at most three months."""
        self._check_key(query)
        now = self._clock()
        end = _day(query, "end_de", now.astimezone(krx.KST).date())
        start = _day(query, "bgn_de", end)
        corp_code = query.get("corp_code", "")
        if not corp_code and end > _three_months_after(start):
            raise StatusError("100", "(corp_code가 없는 경우 검색기간은 3개월만 가능합니다.)")
        page = _whole(query, "page_no", 1, 10**9)
        size = _whole(query, "page_count", 10, 100)
        found = [filing for filing in self._world.filings(start, end, now) if _is_wanted(filing, query, corp_code)]
        keys: dict[str, Callable[[Filing], tuple[Any, ...]]] = {
            "date": lambda filing: (filing.rcept_dt, filing.rcept_no),
            "crp": lambda filing: (filing.corp_name, filing.rcept_no),
            "rpt": lambda filing: (filing.report_nm, filing.rcept_no),
        }
        by = keys[_one_of(query, "sort", "date", "date crp rpt")]
        found.sort(key=by, reverse=_one_of(query, "sort_mth", "desc", "asc desc") == "desc")
        rows = found[(page - 1) * size : page * size]
        if not rows:
            raise StatusError("013")
        return {
            "status": "000",
            "message": _MESSAGES["000"],
            "page_no": page,
            "page_count": size,
            "total_count": len(found),
            "total_page": -(-len(found) // size),
            "list": [_row(filing) for filing in rows],
        }

    def companies(self, query: Mapping[str, str]) -> bytes:
        """`/corpCode.xml`: a ZIP with CORPCODE.xml; a company that was never listed has one space for a stock code."""
        self._check_key(query)
        lines = [
            f"    <list>\n        <corp_code>{company.corp_code}</corp_code>\n"
            f"        <corp_name>{escape(company.name)}</corp_name>\n"
            f"        <corp_eng_name>{escape(company.english_name)}</corp_eng_name>\n"
            f"        <stock_code>{company.stock_code or ' '}</stock_code>\n"
            f"        <modify_date>{company.modified_on:%Y%m%d}</modify_date>\n    </list>\n"
            for company in self._world.companies(self._clock())
        ]
        xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<result>\n{"".join(lines)}</result>\n'
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("CORPCODE.xml", (2024, 1, 2, 0, 0, 0)), xml)
        return buffer.getvalue()


def _is_wanted(filing: Filing, query: Mapping[str, str], corp_code: str) -> bool:
    kind, desk = query.get("pblntf_ty", ""), query.get("corp_cls", "")
    is_final = "정" not in filing.rm or query.get("last_reprt_at", "N") != "Y"
    return (
        corp_code in {"", filing.corp_code} and kind in {"", filing.kind} and desk in {"", filing.corp_cls} and is_final
    )


def _row(filing: Filing) -> dict[str, str]:
    return {
        "corp_code": filing.corp_code,
        "corp_name": filing.corp_name,
        "stock_code": filing.stock_code,
        "corp_cls": filing.corp_cls,
        "report_nm": filing.report_nm,
        "rcept_no": filing.rcept_no,
        "flr_nm": filing.filer_name,
        "rcept_dt": f"{filing.rcept_dt:%Y%m%d}",
        "rm": filing.rm,
    }


def routes(world: UpstreamData, clock: Callable[[], datetime], a_day: PerDay) -> list[Route]:
    """Everything under the API's prefix."""
    service = Service(world, clock, a_day)

    async def filings(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(service.filings, request.query_params))
        except StatusError as error:
            return JSONResponse({"status": error.status, "message": error.message})

    async def companies(request: Request) -> Response:
        try:
            content = await run_in_threadpool(service.companies, request.query_params)
        except StatusError as error:
            words = f"<result><status>{error.status}</status><message>{escape(error.message)}</message></result>"
            return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{words}', media_type="application/xml")
        return Response(content, media_type="application/x-msdownload")

    return [
        Route("/opendart/api/list.json", filings, methods=["GET"]),
        Route("/opendart/api/corpCode.xml", companies, methods=["GET"]),
    ]
