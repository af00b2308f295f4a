"""KIS master files to listed stocks: the fixed-width layout of the three markets, no network.

Put here the layout and the meaning of its fields. A line holds nine bytes of short code, twelve of ISIN, the name in
CP949, then a tail of fixed width. Source of the tails: the C structures `ST_KSP_CODE`, `ST_KSQ_CODE` and `ST_KNX_CODE`
that the broker publishes (koreainvestment/open-trading-api, folder stocks_info).

Does not belong here: fetching the files (`services.reference`), tiers and aliases (`universe`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from azak_assets import krx
from azak_assets.sources.fields import Refused, day, reject, text, whole
from azak_assets.sources.records import ListedStock, Market, Reject, SecurityKind

# Groups that are no shares of a company or fund: ELW, warrants and their certificates, ETN.
NO_SHARES = frozenset({"EW", "SW", "SR", "EN"})
SHARES = frozenset({"ST", "FS", "DR", "KN"})
FUNDS: Mapping[str, SecurityKind] = {"EF": "etf", "FE": "etf", "RT": "reit"}
OTHERS = frozenset({"MF", "SC", "IF", "BC"})
GROUPS = NO_SHARES | SHARES | FUNDS.keys() | OTHERS


@dataclass(frozen=True)
class Layout:
    """A market's file: its name on the server, the bytes of the tail, and (offset, width) of the fields we read."""

    file: str
    width: int
    fields: Mapping[str, tuple[int, int]]


LAYOUTS: Mapping[Market, Layout] = {
    "KOSPI": Layout(
        "kospi_code.mst.zip",
        227,
        {
            "group": (0, 2),
            "sector_large": (3, 4),
            "sector_medium": (7, 4),
            "spac": (29, 1),
            "listed_on": (105, 8),
            "listed_shares": (113, 15),
            "preferred": (158, 1),
            "market_cap": (212, 9),
        },
    ),
    "KOSDAQ": Layout(
        "kosdaq_code.mst.zip",
        221,
        {
            "group": (0, 2),
            "sector_large": (3, 4),
            "sector_medium": (7, 4),
            "spac": (24, 1),
            "listed_on": (100, 8),
            "listed_shares": (108, 15),
            "preferred": (153, 1),
            "market_cap": (206, 9),
        },
    ),
    "KONEX": Layout(
        "konex_code.mst.zip",
        184,
        {
            "group": (0, 2),
            "listed_on": (66, 8),
            "listed_shares": (74, 15),
            "preferred": (119, 1),
            "market_cap": (172, 9),
        },
    ),
}


def listed_stocks(market: Market, content: bytes) -> tuple[list[ListedStock], list[Reject]]:
    """Read a market's unzipped file. Issues that are no shares (`NO_SHARES`) are left out, unreadable lines refused."""
    stocks: list[ListedStock] = []
    rejects: list[Reject] = []
    for line in content.split(b"\n"):
        line = line.rstrip(b"\r")  # noqa: PLW2901
        if not line.strip():
            continue
        try:
            stock = _listed_stock(market, line)
        except Refused as refused:
            rejects.append(reject(line.decode("cp949", errors="replace"), refused))
        else:
            if stock is not None:
                stocks.append(stock)
    return stocks, rejects


def _listed_stock(market: Market, line: bytes) -> ListedStock | None:
    name, tail = _split(market, line)
    if tail["group"] in NO_SHARES:
        return None
    code = line[:9].decode("ascii", errors="replace").strip()
    if not krx.is_stock_code(code):
        raise Refused("code", code, "is not a stock code of six characters")
    isin = line[9:21].decode("ascii", errors="replace")
    shares, cap = _number(tail, "listed_shares"), _number(tail, "market_cap")
    return ListedStock(
        stock_code=code,
        isin=text({"isin": isin}, "isin"),
        name=text({"name": name}, "name"),
        market=market,
        security_kind=_kind(tail),
        sector=_sector(tail),
        listed_on=_listed_on(tail),
        listed_shares=None if shares is None else shares * 1_000,
        market_cap_krw=None if cap is None else cap * 100_000_000,
    )


def _split(market: Market, line: bytes) -> tuple[str, dict[str, str]]:
    # The widths that circulate, 228 and 222 bytes, count the line feed: the fields add up to 227 and 221. A file with
    # a filler byte in its place would shift every field, so the tail must begin with a known group and hold a date.
    layout = LAYOUTS[market]
    for width in (layout.width, layout.width + 1):
        tail = line[-width:].decode("ascii", errors="replace")
        fields = {name: tail[at : at + length].strip() for name, (at, length) in layout.fields.items()}
        listed_on = fields["listed_on"]
        if len(line) > 21 + width and fields["group"] in GROUPS and (not listed_on or len(listed_on) == 8):
            try:
                return line[21:-width].decode("cp949").strip(), fields
            except UnicodeDecodeError:
                break
    raise Refused("tail", line[-layout.width :][:40].decode("ascii", errors="replace"), f"does not fit {layout.file}")


def _kind(tail: dict[str, str]) -> SecurityKind:
    group = tail["group"]
    if group not in SHARES:
        return FUNDS.get(group, "other")
    if tail.get("spac") == "Y":
        return "spac"
    return "preferred" if tail["preferred"] not in {"", "0"} else "stock"


def _sector(tail: dict[str, str]) -> str | None:
    # Index industries: the medium one where the issue has it (0013), else the large one; 0000 is none.
    codes = (tail.get("sector_medium", ""), tail.get("sector_large", ""))
    return next((code for code in codes if code.strip("0")), None)


def _listed_on(tail: dict[str, str]) -> date | None:
    return day(tail, "listed_on") if tail["listed_on"].strip("0") else None


def _number(tail: dict[str, str], field: str) -> int | None:
    return (whole(tail, field) or None) if tail[field] else None
