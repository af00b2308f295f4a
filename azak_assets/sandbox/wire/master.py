"""The broker's master files: every listed issue in one cp949 file of fixed width a market, zipped.

The layouts are those of the broker's published structure files (`종목마스터정보(코스피).h` and its sisters): short code
9, ISIN 12, name 40 bytes, then a block whose fields and widths differ by market. Numbers are zero-padded and
right-aligned, flags one letter. A width counts bytes of cp949.

Does not belong here: which issues are listed, which is the world's to say.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from azak_assets.sandbox.worlds.world import INDICES, Issue, UpstreamData

_HEAD = "short_code:9 isin:12 name:40 group:2 "
_TAIL = (
    "base_price:9 lot:5 overtime_lot:5 halted:1 liquidation:1 administrative:1 warning:2 warning_notice:1 "
    "unfaithful:1 backdoor:1 ex_right:2 face_change:2 issue_change:2 margin:3 credit:1 credit_days:3 "
    "previous_volume:12 face_value:12 listed_on:8 listed_thousand:15 capital:21 fiscal_month:2 offer_price:7 "
    "preferred:1 short_hot:1 runup:1 krx300:1 "
)
_ACCOUNTS = "sales:9 operating_profit:9 ordinary_profit:9 net_income:5 roe:9 base_month:8 market_cap_100m:9 "
_CREDIT = "credit_limit:1 collateral:1 stock_loan:1"
_SECTORS = "size:1 sector:4 sector_medium:4 sector_small:4 "

LAYOUTS = {
    "KOSPI": (
        _HEAD + _SECTORS + "manufacturing:1 low_liquidity:1 governance:1 kospi200:1 kospi100:1 kospi50:1 krx:1 etp:1 "
        "elw:1 krx100:1 krx_car:1 krx_chip:1 krx_bio:1 krx_bank:1 spac:1 krx_energy:1 krx_steel:1 overheated:1 "
        "krx_media:1 krx_building:1 removed:1 krx_broker:1 krx_ship:1 krx_insurance:1 krx_transport:1 sri:1 "
        + _TAIL + "kospi:1 " + _ACCOUNTS + "group_code:3 " + _CREDIT
    ),
    "KOSDAQ": (
        _HEAD + _SECTORS + "venture:1 low_liquidity:1 krx:1 etp:1 krx100:1 krx_car:1 krx_chip:1 krx_bio:1 krx_bank:1 "
        "spac:1 krx_energy:1 krx_steel:1 overheated:1 krx_media:1 krx_building:1 caution:1 krx_broker:1 krx_ship:1 "
        "krx_insurance:1 krx_transport:1 kosdaq150:1 " + _TAIL + _ACCOUNTS + "group_code:3 " + _CREDIT
    ),
    "KONEX": _HEAD + _TAIL + _ACCOUNTS + _CREDIT,
}  # fmt: skip

#: What `idxcode.mst` lists; the first digit of a code is the market's.
_INDEX_NAMES = dict(sorted((INDICES | {"0002": "대형주"}).items()))


def _fields(issue: Issue) -> dict[str, str]:
    return {
        "short_code": issue.code,
        "isin": issue.isin,
        "name": issue.name,
        "group": issue.group,
        "sector": issue.sector,
        "spac": "NY"[issue.is_spac],
        "base_price": str(issue.previous_close),
        "lot": "1",
        "overtime_lot": "1",
        "halted": "NY"[issue.is_halted],
        "previous_volume": str(issue.previous_volume),
        "listed_on": f"{issue.listed_on:%Y%m%d}" if issue.listed_on else "",
        "listed_thousand": str(issue.listed_shares // 1000),
        "preferred": "1" if issue.is_preferred else "0",
        "fiscal_month": "12",
        "kospi": "Y",
        "market_cap_100m": str(issue.market_cap_krw // 100_000_000),
    }


_TEXTS = frozenset({"short_code", "isin", "name", "group"})
_NUMBERS = frozenset(
    [
        "size", "sector", "sector_medium", "sector_small", "etp", "kospi200", "overheated", "warning", "ex_right",
        "face_change", "issue_change", "margin", "credit_days", "preferred", "base_price", "lot", "overtime_lot",
        "previous_volume", "face_value", "listed_thousand", "capital", "fiscal_month", "offer_price", "sales",
        "operating_profit", "ordinary_profit", "net_income", "roe", "market_cap_100m", "group_code",
    ]
)  # fmt: skip


def _record(issue: Issue) -> bytes:
    values = _fields(issue)
    record = b""
    for part in LAYOUTS[issue.market].split():
        field, _, digits = part.partition(":")
        width = int(digits)
        if field in _TEXTS:
            record += values[field].encode("cp949").ljust(width)[:width]
        elif field in _NUMBERS:
            record += values.get(field, "").rjust(width, "0").encode()
        elif field in {"listed_on", "base_month"}:
            record += values.get(field, "").ljust(width).encode()
        else:
            record += values.get(field, "N").encode()
    return record + b"\n"


def _zip(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed time: the same world gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 6, 0, 0)), content)
    return buffer.getvalue()


def market_file(issues: Sequence[Issue], market: str) -> bytes:
    """The zipped master file of one market, in the order of its codes."""
    chosen = sorted((issue for issue in issues if issue.market == market), key=lambda issue: issue.code)
    return _zip(f"{market.lower()}_code.mst", b"".join(map(_record, chosen)))


def index_file() -> bytes:
    """The zipped list of index codes: market 1, code 4, name 40 bytes."""
    lines = (b"0" + code.encode() + name.encode("cp949").ljust(40) + b"\n" for code, name in _INDEX_NAMES.items())
    return _zip("idxcode.mst", b"".join(lines))


def routes(world: UpstreamData, clock: Callable[[], datetime]) -> list[Route]:
    """The three market files and the index codes."""

    async def download(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "idxcode":
            return Response(index_file(), media_type="application/zip")
        market = name.removesuffix("_code").upper()
        if market not in LAYOUTS or not name.endswith("_code"):
            return PlainTextResponse("Not Found", 404)
        content = await run_in_threadpool(lambda: market_file(world.issues(clock()), market))
        return Response(content, media_type="application/zip")

    return [Route("/kis-master/{name}.mst.zip", download, methods=["GET"])]
