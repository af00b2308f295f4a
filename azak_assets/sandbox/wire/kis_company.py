"""The broker's services about companies: financial ratios (FHKST66430300) and the two of the ledger (CTPF1002R,
CTPF1604R).

Their field names, units and codes belong here; tokens, limits and envelopes are `kis`. Every number is text, a blank is
"", and names are padded as the ledger pads them.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from azak_assets.sandbox.wire.kis_fields import RefusedError, Row, Service
from azak_assets.sandbox.worlds.world import Product, Ratios, UpstreamData

RATIO_ROWS = 30
LEDGER_OK = {"msg_cd": "KIOK0530", "msg1": "조회되었습니다".ljust(80)}

# The keys of CTPF1002R that are filled in here; the others of its 67 come blank.
_MARKETS = {"KOSPI": ("STK", "02"), "KOSDAQ": ("KSQ", "03"), "KONEX": ("KNX", "04")}
_STOCK_KEYS = (
    "pdno", "prdt_type_cd", "mket_id_cd", "scty_grp_id_cd", "excg_dvsn_cd", "setl_mmdd", "lstg_stqt", "lstg_cptl_amt",
    "cpta", "papr", "issu_pric", "kospi200_item_yn", "scts_mket_lstg_dt", "scts_mket_lstg_abol_dt",
    "kosdaq_mket_lstg_dt", "kosdaq_mket_lstg_abol_dt", "frbd_mket_lstg_dt", "frbd_mket_lstg_abol_dt", "reits_kind_cd",
    "etf_dvsn_cd", "oilf_fund_yn", "idx_bztp_lcls_cd", "idx_bztp_mcls_cd", "idx_bztp_scls_cd", "stck_kind_cd",
    "mfnd_opng_dt", "mfnd_end_dt", "dpsi_erlm_cncl_dt", "etf_cu_qty", "prdt_name", "prdt_name120", "prdt_abrv_name",
    "std_pdno", "prdt_eng_name", "prdt_eng_name120", "prdt_eng_abrv_name", "dpsi_aptm_erlm_yn", "etf_txtn_type_cd",
    "etf_type_cd", "lstg_abol_dt", "nwst_odst_dvsn_cd", "sbst_pric", "thco_sbst_pric", "thco_sbst_pric_chng_dt",
    "tr_stop_yn", "admn_item_yn", "thdt_clpr", "bfdy_clpr", "clpr_chng_dt", "std_idst_clsf_cd",
    "std_idst_clsf_cd_name", "idx_bztp_lcls_cd_name", "idx_bztp_mcls_cd_name", "idx_bztp_scls_cd_name", "ocr_no",
    "crfd_item_yn", "elec_scty_yn", "issu_istt_cd", "etf_chas_erng_rt_dbnb", "etf_etn_ivst_heed_item_yn",
    "stln_int_rt_dvsn_cd", "frnr_psnl_lmt_rt", "lstg_rqsr_issu_istt_cd", "lstg_rqsr_item_cd",
    "trst_istt_issu_istt_cd", "cptt_trad_tr_psbl_yn", "nxt_tr_stop_yn",
)  # fmt: skip
_PRODUCT_KEYS = (
    "pdno", "prdt_type_cd", "prdt_name", "prdt_name120", "prdt_abrv_name", "prdt_eng_name", "prdt_eng_name120",
    "prdt_eng_abrv_name", "std_pdno", "shtn_pdno", "prdt_sale_stat_cd", "prdt_risk_grad_cd", "prdt_clsf_cd",
    "prdt_clsf_name", "sale_strt_dt", "sale_end_dt", "wrap_asst_type_cd", "ivst_prdt_type_cd",
    "ivst_prdt_type_cd_name", "frst_erlm_dt",
)  # fmt: skip
_CLASSES = {"RT": "리츠", "KN": "코넥스"}


class Companies:
    """The three services over a world."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime]) -> None:
        self._world = world
        self._clock = clock

    def ratios(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKST66430300: the newest periods, annual (0) or quarterly (1); an empty list for an unknown code."""
        division = _needed(query, "FID_DIV_CLS_CODE")
        if division not in {"0", "1"} or _needed(query, "FID_COND_MRKT_DIV_CODE") != "J":
            raise RefusedError("OPSQ2001", "ERROR : INVALID FID_DIV_CLS_CODE")
        code = _needed(query, "FID_INPUT_ISCD")
        reported = self._world.ratios(code, self._clock(), annual=division == "0")
        return {"output": [_ratio_row(one) for one in reported[:RATIO_ROWS]]}

    def stock(self, query: Mapping[str, str]) -> dict[str, Any]:
        """CTPF1002R."""
        found = self._product(query)
        return {**LEDGER_OK, "output": dict.fromkeys(_STOCK_KEYS, "") | ({} if found is None else _stock(found))}

    def product(self, query: Mapping[str, str]) -> dict[str, Any]:
        """CTPF1604R."""
        found = self._product(query)
        return {**LEDGER_OK, "output": dict.fromkeys(_PRODUCT_KEYS, "") | ({} if found is None else _product(found))}

    def _product(self, query: Mapping[str, str]) -> Product | None:
        if _needed(query, "PRDT_TYPE_CD") != "300":
            return None
        return self._world.product(_needed(query, "PDNO"), self._clock())


def _needed(query: Mapping[str, str], name: str) -> str:
    if name not in query:
        raise RefusedError("OPSQ2001", f"ERROR : INPUT FIELD NOT FOUND [{name}]")
    return query[name]


def _ratio_row(one: Ratios) -> Row:
    numbers = {
        "grs": one.revenue_growth, "bsop_prfi_inrt": one.operating_profit_growth, "ntin_inrt": one.net_income_growth,
        "roe_val": one.roe, "eps": one.eps, "sps": one.sales_per_share, "bps": one.bps, "rsrv_rate": one.retained,
        "lblt_rate": one.debt,
    }  # fmt: skip
    return {"stac_yymm": one.month, **{name: f"{value:.2f}" for name, value in numbers.items()}}


def _names(found: Product) -> Row:
    issue = found.issue
    name, english = issue.name, f"SANDBOX {issue.code}"
    share = "1우선주" if issue.is_preferred else "보통주"
    return {
        "pdno": f"00000A{issue.code}", "prdt_type_cd": "300", "prdt_name": f"{name}{share}",
        "prdt_name120": f"{name}{share}".ljust(60), "prdt_abrv_name": name.ljust(30), "prdt_eng_name": english,
        "prdt_eng_name120": english, "prdt_eng_abrv_name": english, "std_pdno": issue.isin,
    }  # fmt: skip


def _stock(found: Product) -> Row:
    issue = found.issue
    market, exchange = _MARKETS[issue.market]
    dates = {"KOSPI": "scts_mket_lstg", "KOSDAQ": "kosdaq_mket_lstg"}.get(issue.market)
    listed = (
        {} if dates is None else {f"{dates}_dt": _day(issue.listed_on), f"{dates}_abol_dt": _day(found.delisted_on)}
    )
    industry: Row = {}
    if found.industry:
        industry = {
            "idx_bztp_lcls_cd": "000", "idx_bztp_lcls_cd_name": issue.market, "idx_bztp_mcls_cd": issue.sector[1:],
            "idx_bztp_mcls_cd_name": found.industry, "idx_bztp_scls_cd": issue.sector[1:],
            "idx_bztp_scls_cd_name": found.industry, "std_idst_clsf_cd": f"0{issue.sector}0",
            "std_idst_clsf_cd_name": f"{found.industry} 제조 및 서비스업",
        }  # fmt: skip
    return {
        **_names(found), **listed, **industry, "mket_id_cd": market, "scty_grp_id_cd": issue.group.replace("KN", "ST"),
        "excg_dvsn_cd": exchange, "setl_mmdd": "1231", "lstg_stqt": str(issue.listed_shares),
        "papr": str(found.par), "kospi200_item_yn": "NY"[found.is_kospi200], "lstg_abol_dt": _day(found.delisted_on),
        "tr_stop_yn": "NY"[issue.is_halted], "admn_item_yn": "NY"[found.is_administrative],
        "thdt_clpr": str(issue.previous_close), "bfdy_clpr": str(issue.previous_close), "elec_scty_yn": "Y",
        "cptt_trad_tr_psbl_yn": "NY"[found.is_kospi200], "nxt_tr_stop_yn": "N", "frnr_psnl_lmt_rt": "0.00000000",
    }  # fmt: skip


def _product(found: Product) -> Row:
    name = "스팩" if found.issue.is_spac else _CLASSES.get(found.issue.group, "주식")
    return {
        **_names(found), "shtn_pdno": found.issue.code, "prdt_sale_stat_cd": "00", "prdt_clsf_cd": "101101",
        "prdt_clsf_name": name, "ivst_prdt_type_cd": "0101", "ivst_prdt_type_cd_name": "주식",
    }  # fmt: skip


def _day(day: date | None) -> str:
    return f"{day:%Y%m%d}" if day else ""


def services(world: UpstreamData, clock: Callable[[], datetime]) -> dict[str, tuple[str, Service]]:
    """What `kis.routes` serves besides its own: `folder/name` to transaction and answer."""
    companies = Companies(world, clock)
    return {
        "finance/financial-ratio": ("FHKST66430300", companies.ratios),
        "quotations/search-stock-info": ("CTPF1002R", companies.stock),
        "quotations/search-info": ("CTPF1604R", companies.product),
    }
