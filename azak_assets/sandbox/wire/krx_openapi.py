"""The exchange's Open API: a market's finished session in one answer, published from 08:00 of the next day.

Field names, paths and error bodies belong here. A key is good unless it is empty or starts with `invalid`; one that
starts with `partly` was approved for KOSPI and KOSDAQ alone. What the exchange counts is the world's to say.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.wire.limits import PerDay
from azak_assets.sandbox.worlds.world import DailyBar, Issue, Market, UpstreamData

SERVICES: dict[str, Market] = {"stk_bydd_trd": "KOSPI", "ksq_bydd_trd": "KOSDAQ", "knx_bydd_trd": "KONEX"}
PUBLISHED_FROM = time(8)


def _refusal(status: int, words: str) -> Response:
    return JSONResponse({"respMsg": words, "respCode": str(status)}, status)


def _row(day: date, issue: Issue, bar: DailyBar) -> dict[str, str]:
    change = bar.close - bar.reference if bar.reference else 0
    return {
        "BAS_DD": f"{day:%Y%m%d}", "ISU_CD": issue.code, "ISU_NM": issue.name, "MKT_NM": issue.market,
        "SECT_TP_NM": "" if issue.market == "KOSPI" else "일반기업부", "TDD_CLSPRC": str(bar.close),
        "CMPPREVDD_PRC": str(change), "FLUC_RT": f"{100 * change / (bar.close - change):.2f}",
        "TDD_OPNPRC": str(bar.open), "TDD_HGPRC": str(bar.high), "TDD_LWPRC": str(bar.low),
        "ACC_TRDVOL": str(bar.volume), "ACC_TRDVAL": str(bar.turnover_krw),
        "MKTCAP": str(bar.close * issue.listed_shares), "LIST_SHRS": str(issue.listed_shares),
    }  # fmt: skip


def routes(world: UpstreamData, clock: Callable[[], datetime], a_day: PerDay) -> list[Route]:
    """Everything under the host."""

    def published(market: Market, day: date) -> list[dict[str, str]]:
        now = clock()
        if now < datetime.combine(day + timedelta(days=1), PUBLISHED_FROM, krx.KST):
            return []
        return [_row(day, issue, bar) for issue, bar in world.exchange_day(market, day, now)]

    async def answer(request: Request) -> Response:
        service, key = request.path_params["service"], request.headers.get("auth_key", "")
        market = SERVICES.get(service.removeprefix("sto/"))
        if market is None or not service.startswith("sto/"):
            return _refusal(404, f"[svc/apis/{service}] API referenced by the path does not exist.")
        if not key or key.startswith("invalid"):
            return _refusal(401, "Unauthorized Key")
        if key.startswith("partly") and market == "KONEX":
            return _refusal(401, "Unauthorized API Call")
        if not a_day.admits(key):
            return _refusal(429, "Too Many Requests")
        try:
            day = datetime.strptime(request.query_params.get("basDd", ""), "%Y%m%d").replace(tzinfo=krx.KST).date()
        except ValueError:
            return _refusal(400, "Bad Request")
        return JSONResponse({"OutBlock_1": await run_in_threadpool(published, market, day)})

    return [Route("/krx/svc/apis/{service:path}", answer, methods=["GET"])]
