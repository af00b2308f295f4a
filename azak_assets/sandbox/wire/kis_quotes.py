"""The broker's quote and order book: FHKST01010100 and FHKST01010200 on the wire.

Key names, codes and quirks of these two services belong here; the gateway around them is `kis`. Both answer one object
of texts without any time of day in it, say "0" for a level without orders and for a price that was not made, and
answer an unknown code with empty texts instead of an error.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from azak_assets import krx
from azak_assets.sandbox.worlds.books import LEVELS
from azak_assets.sandbox.worlds.world import Issue, Level, Standing, UpstreamData

Row = dict[str, str]

# As the official sample has them: `new_hgpr_lwpr_cls_code`, `apprch_rate` and `mang_issu_cls_code`, which the field
# list names, are not among them, and neither is the name of the stock.
_QUOTE = (
    "iscd_stat_cls_code", "marg_rate", "rprs_mrkt_kor_name", "bstp_kor_isnm", "temp_stop_yn", "oprc_rang_cont_yn",
    "clpr_rang_cont_yn", "crdt_able_yn", "grmn_rate_cls_code", "elw_pblc_yn", "stck_prpr", "prdy_vrss",
    "prdy_vrss_sign", "prdy_ctrt", "acml_tr_pbmn", "acml_vol", "prdy_vrss_vol_rate", "stck_oprc", "stck_hgpr",
    "stck_lwpr", "stck_mxpr", "stck_llam", "stck_sdpr", "wghn_avrg_stck_prc", "hts_frgn_ehrt", "frgn_ntby_qty",
    "pgtr_ntby_qty", "pvt_scnd_dmrs_prc", "pvt_frst_dmrs_prc", "pvt_pont_val", "pvt_frst_dmsp_prc",
    "pvt_scnd_dmsp_prc", "dmrs_val", "dmsp_val", "cpfn", "rstc_wdth_prc", "stck_fcam", "stck_sspr", "aspr_unit",
    "hts_deal_qty_unit_val", "lstn_stcn", "hts_avls", "per", "pbr", "stac_month", "vol_tnrt", "eps", "bps",
    "d250_hgpr", "d250_hgpr_date", "d250_hgpr_vrss_prpr_rate", "d250_lwpr", "d250_lwpr_date",
    "d250_lwpr_vrss_prpr_rate", "stck_dryy_hgpr", "dryy_hgpr_vrss_prpr_rate", "dryy_hgpr_date", "stck_dryy_lwpr",
    "dryy_lwpr_vrss_prpr_rate", "dryy_lwpr_date", "w52_hgpr", "w52_hgpr_vrss_prpr_ctrt", "w52_hgpr_date", "w52_lwpr",
    "w52_lwpr_vrss_prpr_ctrt", "w52_lwpr_date", "whol_loan_rmnd_rate", "ssts_yn", "stck_shrn_iscd", "fcam_cnnm",
    "cpfn_cnnm", "frgn_hldn_qty", "vi_cls_code", "ovtm_vi_cls_code", "last_ssts_cntg_qty", "invt_caful_yn",
    "mrkt_warn_cls_code", "short_over_yn", "sltr_yn",
)  # fmt: skip
_SIDES = [f"{side}{kind}{level}" for kind in ("", "_rsqn", "_rsqn_icdc") for side in ("askp", "bidp")
          for level in range(1, LEVELS + 1)]  # fmt: skip
_BOOK = (
    "aspr_acpt_hour", *_SIDES, "total_askp_rsqn", "total_bidp_rsqn", "total_askp_rsqn_icdc", "total_bidp_rsqn_icdc",
    "ovtm_total_askp_icdc", "ovtm_total_bidp_icdc", "ovtm_total_askp_rsqn", "ovtm_total_bidp_rsqn", "ntby_aspr_rsqn",
    "new_mkop_cls_code",
)  # fmt: skip
_EXPECTED = (
    "antc_mkop_cls_code", "stck_prpr", "stck_oprc", "stck_hgpr", "stck_lwpr", "stck_sdpr", "antc_cnpr",
    "antc_cntg_vrss_sign", "antc_cntg_vrss", "antc_cntg_prdy_ctrt", "antc_vol", "stck_shrn_iscd", "vi_cls_code",
)  # fmt: skip
HALTED, NORMAL = "58", "55"
PHASES = {"before": "10", "continuous": "20", "call": "00", "after": "31"}


class Quotes:
    """The two services over a world."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime]) -> None:
        self._world = world
        self._clock = clock

    def quote(self, code: str) -> dict[str, Any]:
        """FHKST01010100: one object; no field tells when it was made."""
        now = self._clock()
        issue, standing = self._world.issue(code, now), self._world.standing(code, now)
        answer = dict.fromkeys(_QUOTE, "")
        return {"output": answer | _quoted(issue, standing) if issue and standing else answer}

    def book(self, code: str) -> dict[str, Any]:
        """FHKST01010200: ten levels a side in output1, the auction's expected match in output2."""
        now = self._clock()
        standing = self._world.standing(code, now)
        levels, expected = dict.fromkeys(_BOOK, ""), dict.fromkeys(_EXPECTED, "")
        if standing is None:
            return {"output1": levels, "output2": expected}
        levels |= {"aspr_acpt_hour": f"{now:%H%M%S}", "new_mkop_cls_code": PHASES[standing.phase]}
        levels |= dict.fromkeys(_BOOK[_BOOK.index("total_askp_rsqn") : _BOOK.index("new_mkop_cls_code")], "0")
        for side, given in (("askp", standing.asks), ("bidp", standing.bids)):
            levels |= _levels(side, given)
            levels[f"total_{side}_rsqn"] = str(sum(shares for _, shares in given))
        levels["ntby_aspr_rsqn"] = str(int(levels["total_bidp_rsqn"]) - int(levels["total_askp_rsqn"]))
        return {"output1": levels, "output2": expected | _expected(code, standing)}


def _levels(side: str, given: Sequence[Level]) -> Row:
    row: Row = {}
    for level in range(1, LEVELS + 1):
        price, shares = given[level - 1] if level <= len(given) else (0, 0)
        row |= {f"{side}{level}": str(price), f"{side}_rsqn{level}": str(shares), f"{side}_rsqn_icdc{level}": "0"}
    return row


def _quoted(issue: Issue, standing: Standing) -> Row:
    bar = standing.bar
    base = bar.reference or bar.close
    limits = krx.price_limits(base, bar.day, issue.market)
    change = bar.close - base
    average = bar.turnover_krw / bar.volume if bar.volume else 0.0
    return {
        "iscd_stat_cls_code": HALTED if standing.is_halted else NORMAL, "temp_stop_yn": "NY"[standing.is_halted],
        "marg_rate": "40.00", "rprs_mrkt_kor_name": issue.market, "crdt_able_yn": "Y", "elw_pblc_yn": "N",
        "stck_prpr": str(bar.close), "prdy_vrss": str(change),
        "prdy_vrss_sign": "3" if not change else "2" if change > 0 else "5", "prdy_ctrt": f"{100 * change / base:.2f}",
        "acml_tr_pbmn": str(bar.turnover_krw), "acml_vol": str(bar.volume), "stck_oprc": str(bar.open),
        "stck_hgpr": str(bar.high), "stck_lwpr": str(bar.low), "stck_mxpr": str(limits.upper),
        "stck_llam": str(limits.lower), "stck_sdpr": str(base), "wghn_avrg_stck_prc": f"{average:.2f}",
        "hts_frgn_ehrt": "12.34", "frgn_ntby_qty": str(-(bar.volume // 50)), "pgtr_ntby_qty": str(bar.volume // 80),
        "stck_fcam": "5000", "fcam_cnnm": "5,000", "cpfn": str(5000 * issue.listed_shares // 100_000_000),
        "cpfn_cnnm": f"{5000 * issue.listed_shares // 100_000_000:,} 억",
        "aspr_unit": str(krx.tick_size(bar.close, bar.day, issue.market)), "lstn_stcn": str(issue.listed_shares),
        "hts_avls": str(bar.close * issue.listed_shares // 100_000_000), "per": "0.00", "pbr": "0.00", "eps": "0.00",
        "bps": "0.00", "stac_month": "12", "vol_tnrt": f"{100 * bar.volume / max(issue.listed_shares, 1):.2f}",
        "stck_shrn_iscd": issue.code, "vi_cls_code": "N", "ovtm_vi_cls_code": "N", "invt_caful_yn": "N",
        "mrkt_warn_cls_code": "00", "short_over_yn": "N", "sltr_yn": "N", "ssts_yn": "Y",
    }  # fmt: skip


def _expected(code: str, standing: Standing) -> Row:
    bar, (price, shares) = standing.bar, standing.expected
    return {
        "antc_mkop_cls_code": "112" if price else "311", "stck_prpr": str(bar.close), "stck_oprc": str(bar.open),
        "stck_hgpr": str(bar.high), "stck_lwpr": str(bar.low), "stck_sdpr": str(bar.reference or bar.close),
        "antc_cnpr": str(price), "antc_cntg_vrss_sign": "3",
        "antc_cntg_vrss": str(price - bar.reference if price else 0),
        "antc_cntg_prdy_ctrt": "0.00", "antc_vol": str(shares), "stck_shrn_iscd": code, "vi_cls_code": "N",
    }  # fmt: skip
