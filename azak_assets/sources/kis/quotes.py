"""KIS answers to quotes and order books: one function a service, no network.

Put here the meaning of FHKST01010100 (quote) and FHKST01010200 (ten-level book). Neither says when it was made, so the
client's clock at the answer stands in for it. Of the quote's 82 keys the documents promise none: what a quote
cannot be without (price and the day's totals) refuses it, everything else is None where it is missing.

Does not belong here: asking, and which five minutes an answer belongs to (`ingest.intraday`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from azak_assets import krx
from azak_assets.sources.fields import Refused, Row, optional_decimal, optional_text, text, whole
from azak_assets.sources.records import OrderBook, Quote

LEVELS = 10
HALTED = "58"
"""`iscd_stat_cls_code` of an issue whose trading is stopped."""
LEAST = -(2**63)


def is_blank(answer: Mapping[str, Any]) -> bool:
    """Whether an answer holds nothing: KIS answers so, without an error, for a code that it does not know."""
    return not any(value not in ("", None) for value in answer.values())


def quote(row: Row, stock_code: str, at: datetime) -> Quote:
    """Read one answer of FHKST01010100 that arrived at ``at`` (aware).

    Before its first trade of the day a stock has "0" as open, high and low and the last close as its price.
    """
    _require_stock(row, stock_code)
    volume = whole(row, "acml_vol")
    price = whole(row, "stck_prpr", minimum=1)
    opened, high, low = (_price(row, name) for name in ("stck_oprc", "stck_hgpr", "stck_lwpr"))
    if volume and not (opened and high and low and low <= min(opened, price) and max(opened, price) <= high):
        raise Refused("stck_hgpr", row.get("stck_hgpr"), "open, high, low and price contradict each other")
    status, stopped = optional_text(row, "iscd_stat_cls_code"), optional_text(row, "temp_stop_yn")
    return Quote(
        stock_code=stock_code,
        trade_date=at.astimezone(krx.KST).date(),
        price=price,
        open=opened if volume else None,
        high=high if volume else None,
        low=low if volume else None,
        volume=volume,
        turnover_krw=whole(row, "acml_tr_pbmn"),
        vwap=(optional_decimal(row, "wghn_avrg_stck_prc") or None) if volume else None,
        reference_price=_price(row, "stck_sdpr"),
        upper_limit=_price(row, "stck_mxpr"),
        lower_limit=_price(row, "stck_llam"),
        foreign_net_shares=_signed(row, "frgn_ntby_qty"),
        program_net_shares=_signed(row, "pgtr_ntby_qty"),
        foreign_held_pct=optional_decimal(row, "hts_frgn_ehrt"),
        status_code=status,
        warning_code=optional_text(row, "mrkt_warn_cls_code"),
        is_in_vi=_flag(row, "vi_cls_code"),
        is_halted=status == HALTED or stopped == "Y",
        known_at=at,
    )


def order_book(levels: Row, expected: Row, stock_code: str, at: datetime) -> OrderBook:
    """Read one answer of FHKST01010200 (output1 and output2) that arrived at ``at`` (aware)."""
    _require_stock(expected, stock_code)
    ask_prices, ask_shares = _side(levels, "askp", rising=True)
    bid_prices, bid_shares = _side(levels, "bidp", rising=False)
    price = _price(expected, "antc_cnpr")
    return OrderBook(
        stock_code=stock_code,
        trade_date=at.astimezone(krx.KST).date(),
        ask_prices=ask_prices,
        ask_shares=ask_shares,
        bid_prices=bid_prices,
        bid_shares=bid_shares,
        total_ask_shares=whole(levels, "total_askp_rsqn"),
        total_bid_shares=whole(levels, "total_bidp_rsqn"),
        expected_price=price,
        expected_volume=_signed(expected, "antc_vol") if price else None,
        phase_code=optional_text(levels, "new_mkop_cls_code"),
        is_in_vi=_flag(expected, "vi_cls_code"),
        known_at=at,
    )


def _side(row: Row, side: str, *, rising: bool) -> tuple[list[int], list[int]]:
    """Prices and shares of one side, best first: the levels with a price, which are "0" where there are no orders."""
    prices = [whole(row, f"{side}{level}") for level in range(1, LEVELS + 1)]
    shares = [whole(row, f"{side}_rsqn{level}") for level in range(1, LEVELS + 1)]
    filled = sum(price > 0 for price in prices)
    if 0 in prices[:filled]:
        field = f"{side}{prices.index(0) + 1}"
        raise Refused(field, row.get(field), "is an empty level before one with orders")
    for level in range(1, filled):
        step = prices[level] - prices[level - 1]
        if step * (1 if rising else -1) <= 0:
            field = f"{side}{level + 1}"
            raise Refused(field, row.get(field), f"is no worse than the level before it, {prices[level - 1]}")
    return prices[:filled], shares[:filled]


def _require_stock(row: Row, stock_code: str) -> None:
    answered = optional_text(row, "stck_shrn_iscd")
    if answered is not None and answered != stock_code:
        raise Refused("stck_shrn_iscd", answered, f"is not the stock that was asked for, {stock_code}")


def _price(row: Row, field: str) -> int | None:
    """A price; None where it is missing or "0", which stands for none."""
    return (whole(row, field) or None) if optional_text(row, field) else None


def _signed(row: Row, field: str) -> int | None:
    return whole(row, field, minimum=LEAST) if optional_text(row, field) else None


def _flag(row: Row, field: str) -> bool | None:
    return None if optional_text(row, field) is None else text(row, field) != "N"
