"""Which earlier filing a correction corrects.

Belongs here: comparing report names. DART's list says that a filing is a correction, by a mark before the report's name
("[기재정정]", "[첨부정정]" …), and not of which; the newest earlier filing of the same filer about the company under
the same name is it. The filer counts: every officer and large holder files reports of one name about one company. Does
not belong here: reading DART's list (`sources.opendart`).
"""

import re

import pandas as pd

_MARK = re.compile(r"^\s*(?:\[[^\]]*\]\s*)+")
_SPACE = re.compile(r"\s+")


def report_name(report_nm: str) -> str:
    """The name of a report without leading marks and with single spaces: what a correction shares with its original."""
    return _SPACE.sub(" ", _MARK.sub("", report_nm)).strip()


def amended(filings: pd.DataFrame, earlier: pd.DataFrame) -> list[str | None]:
    """For each row of `filings` the `rcept_no` it corrects, None where it corrects nothing or nothing that is here.

    Args:
        filings: rcept_no, corp_code, filer_name, report_nm, rcept_dt, correction_kind.
        earlier: the first five of these of filings already stored; those in `filings` count as well, and before them:
            DART may have renamed one since.
    """
    columns = ["rcept_no", "corp_code", "filer_name", "report_nm", "rcept_dt"]
    known = pd.concat([filings[columns], earlier[columns]]).drop_duplicates("rcept_no")
    chains: dict[tuple[str, str, str], list[str]] = {}
    in_order = known.sort_values(["rcept_dt", "rcept_no"])
    for rcept_no, corp_code, filer, name in in_order[columns[:4]].itertuples(index=False, name=None):
        chains.setdefault((corp_code, filer, report_name(name)), []).append(rcept_no)
    originals: list[str | None] = []
    asked = filings[[*columns[:4], "correction_kind"]]
    for rcept_no, corp_code, filer, name, kind in asked.itertuples(index=False, name=None):
        chain = chains[corp_code, filer, report_name(name)]
        place = chain.index(rcept_no)
        originals.append(chain[place - 1] if place and isinstance(kind, str) else None)
    return originals
