"""KIS rows about companies: one function a row kind, no network.

Put here the meaning of the rows of FHKST66430300 (financial ratios), CTPF1002R (stock information) and CTPF1604R
(product information, of which only the class is wanted, where the second leaves the industry blank). The ledger's
prices (`thdt_clpr`, `sbst_pric` …) are left out: they change daily and stand in the bars. So is its capital (`cpta`),
whose unit the documents do not say.
"""

import calendar
import re
from collections.abc import Mapping
from datetime import date
from typing import Literal

from azak_assets.sources.fields import Refused, Row, day, optional_decimal, optional_text, text, whole
from azak_assets.sources.records import FinancialRatio, Market, ProductInfo

Period = Literal["annual", "quarterly"]

PERIODS: Mapping[Period, str] = {"annual": "0", "quarterly": "1"}
SHARES = "300"
"""`PRDT_TYPE_CD` of shares and funds."""
MARKETS: Mapping[str, Market] = {"STK": "KOSPI", "KSQ": "KOSDAQ", "KNX": "KONEX"}

_MONTH = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])", re.ASCII)
_MONTH_AND_DAY = re.compile(r"(0[1-9]|1[0-2])([0-2]\d|3[01])", re.ASCII)
_NO_DAY = frozenset({"", "0", "00000000"})
_INDUSTRIES = ("idx_bztp_lcls_cd_name", "idx_bztp_mcls_cd_name", "idx_bztp_scls_cd_name", "std_idst_clsf_cd_name")


def ratio(row: Row, *, stock_code: str, period: Period) -> FinancialRatio | None:
    """Read one row of FHKST66430300; None for a row that carries no period at all, as KIS pads its lists."""
    month = optional_text(row, "stac_yymm")
    if month is None:
        return None
    if not _MONTH.fullmatch(month):
        raise Refused("stac_yymm", month, "is not a month written YYYYMM")
    year, number = int(month[:4]), int(month[4:])
    return FinancialRatio(
        stock_code=stock_code,
        period=period,
        period_end=date(year, number, calendar.monthrange(year, number)[1]),
        revenue_growth_pct=optional_decimal(row, "grs"),
        operating_profit_growth_pct=optional_decimal(row, "bsop_prfi_inrt"),
        net_income_growth_pct=optional_decimal(row, "ntin_inrt"),
        roe_pct=optional_decimal(row, "roe_val"),
        eps_krw=optional_decimal(row, "eps"),
        sales_per_share_krw=optional_decimal(row, "sps"),
        bps_krw=optional_decimal(row, "bps"),
        retained_ratio_pct=optional_decimal(row, "rsrv_rate"),
        debt_ratio_pct=optional_decimal(row, "lblt_rate"),
    )


def product_info(row: Row, *, stock_code: str, product_class: str | None) -> ProductInfo:
    """Read the record of CTPF1002R."""
    market = text(row, "mket_id_cd")
    if market not in MARKETS:
        raise Refused("mket_id_cd", market, f"is none of {', '.join(MARKETS)}")
    return ProductInfo(
        stock_code=stock_code,
        isin=optional_text(row, "std_pdno"),
        name=text(row, "prdt_abrv_name"),
        name_en=optional_text(row, "prdt_eng_name"),
        market=MARKETS[market],
        security_group=text(row, "scty_grp_id_cd"),
        fiscal_year_end=_month_and_day(row, "setl_mmdd"),
        par_value=optional_decimal(row, "papr") or None,
        listed_shares=whole(row, "lstg_stqt") or None if optional_text(row, "lstg_stqt") else None,
        kospi_listed_on=_optional_day(row, "scts_mket_lstg_dt"),
        kospi_delisted_on=_optional_day(row, "scts_mket_lstg_abol_dt"),
        kosdaq_listed_on=_optional_day(row, "kosdaq_mket_lstg_dt"),
        kosdaq_delisted_on=_optional_day(row, "kosdaq_mket_lstg_abol_dt"),
        delisted_on=_optional_day(row, "lstg_abol_dt"),
        industry_large=optional_text(row, "idx_bztp_lcls_cd_name"),
        industry_medium=optional_text(row, "idx_bztp_mcls_cd_name"),
        industry_small=optional_text(row, "idx_bztp_scls_cd_name"),
        industry_code=optional_text(row, "std_idst_clsf_cd"),
        industry=optional_text(row, "std_idst_clsf_cd_name"),
        product_class=product_class,
        is_kospi200=_flag(row, "kospi200_item_yn"),
        is_trading_halted=_flag(row, "tr_stop_yn"),
        is_administrative_issue=_flag(row, "admn_item_yn"),
        is_nxt_tradable=_flag(row, "cptt_trad_tr_psbl_yn"),
        is_nxt_halted=_flag(row, "nxt_tr_stop_yn"),
    )


def names_industry(row: Row) -> bool:
    """Whether the record of CTPF1002R says in which industry the issue is."""
    return any(str(row.get(field) or "").strip() for field in _INDUSTRIES)


def product_class(row: Row) -> str | None:
    """The class that the record of CTPF1604R gives; None for another record and where it is no text."""
    value = row.get("prdt_clsf_name")
    return value.strip() or None if isinstance(value, str) else None


def _optional_day(row: Row, field: str) -> date | None:
    return None if (optional_text(row, field) or "") in _NO_DAY else day(row, field)


def _month_and_day(row: Row, field: str) -> str | None:
    value = optional_text(row, field)
    if value is not None and not _MONTH_AND_DAY.fullmatch(value):
        raise Refused(field, value, "is not a month and day written MMDD")
    return value


def _flag(row: Row, field: str) -> bool | None:
    value = optional_text(row, field)
    if value not in {None, "Y", "N"}:
        raise Refused(field, value, "is neither Y nor N")
    return None if value is None else value == "Y"
