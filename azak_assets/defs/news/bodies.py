"""Texts of article pages, where the operator has switched them on.

Belongs here: which pages are asked for and how much of a text is kept. Rights differ from those of a feed, so they lie
in a table of their own. How a page is read is `sources.pages`.
"""

import hashlib
from collections import Counter

import dagster as dg
import pandas as pd

from azak_assets.defs.failures import skip_unless_available
from azak_assets.defs.markdown import bullets
from azak_assets.defs.reporting import loaded, usage
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.settings import FetchBodies
from azak_assets.sources.failures import Blocked, SourceFailure
from azak_assets.text.clean import clean_text, excerpt, repair_encoding
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

MOST_PAGES = 120
"""A run's share, two minutes at one page a second; the feeds show fewer new articles in ten minutes."""
FAILURES_IN_A_ROW = 3
EXCERPT = 500
"""Characters of a text that are kept unless the operator states that more may be."""
COLUMNS = ["article_id", "url", "status", "extent", "text", "characters", "content_hash", "trading_day"]


@dg.asset(
    key=["raw", "article_bodies"],
    deps=[["raw", "news_articles"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=["team:news"],
    code_version="1",
    pool="publishers",
    metadata={"dagster/table_name": "raw.article_bodies"},
)
def article_bodies(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Texts of the publishers' own pages (Hankyung, Maeil), off unless AZAK_FETCH_BODIES says otherwise.

    Grain: one row an article asked for, with what came of it. A page is read once, and again only when its article has
    a new version; robots.txt decides, one page a second and host, and a host that refuses is left alone for the day. An
    excerpt of 500 characters is kept unless the operator states that the whole text may be. Known defects: a text
    behind a paywall has no row of text; what a page said before it was read is not known.
    """
    if skipped := skip_unless_available(context, upstreams, "article_pages", "pages"):
        return skipped
    window = window_of(context)
    pages, extent = upstreams.pages, upstreams.settings.azak_fetch_bodies
    wanted = _wanted(warehouse, (window.first.day, window.last.day), pages.reads)
    rows: list[dict] = []
    told: Counter[str] = Counter()
    in_a_row: Counter[str] = Counter()
    refused: dict[str, str] = {}
    for article in wanted.head(MOST_PAGES).itertuples():
        host = article.url.split("/")[2]
        if host in refused:
            continue
        try:
            page = pages.read(article.url)
        except SourceFailure as failure:
            context.log.error("%s: %s", article.url, failure)
            told["pages that failed"] += 1
            in_a_row[host] += 1
            if failure.action == "stop" or isinstance(failure, Blocked) or in_a_row[host] == FAILURES_IN_A_ROW:
                refused[host] = str(failure)
            continue
        in_a_row[host] = 0
        told.update(page.notes)
        text = page.text and _clean(page.text, told)
        rows.append(
            {
                "article_id": article.article_id,
                "url": article.url,
                "status": page.status,
                "extent": extent.value if text else None,
                "text": _kept(text, extent),
                "characters": len(text) if text else None,
                "content_hash": hashlib.sha256(text.encode()).hexdigest() if text else None,
                "trading_day": article.trading_day,
            }
        )
        told[page.status] += 1
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"characters": "Int64"})
    result = warehouse.load(
        "raw.article_bodies", frame, Scope(days=None), complete=False, source=f"{upstreams.source}article pages"
    )
    if refused and not rows:
        raise dg.Failure("No publisher let a page be read. " + " ".join(refused.values()), allow_retries=False)
    return dg.MaterializeResult(
        metadata={
            **loaded(result, frame, instant="trading_day", columns=["url", "status", "characters", "text"]),
            "left for the next run": len(wanted) - len(rows),
            "hosts left alone": bullets(refused.values()),
            **told,
            **usage(upstreams),
        }
    )


def _wanted(warehouse: Warehouse, days: tuple, reads) -> pd.DataFrame:
    """The window's articles whose page can be read and was not since their newest version.

    The newest first: a page that fails every time then holds up none but those that were tried before.
    """
    articles = warehouse.read(
        "raw.news_articles", columns=["article_id", "url", "trading_day", "known_at", "observed_at"], days=days
    )
    done = warehouse.read("raw.article_bodies", columns=["article_id", "observed_at"], days=days)
    both = articles.dropna(subset=["url"]).merge(done, on="article_id", how="left", suffixes=("", "_read"))
    is_new = both["observed_at_read"].isna() | (both["observed_at_read"] < both["observed_at"])
    return both[is_new & both["url"].map(reads).astype(bool)].sort_values(["known_at", "article_id"], ascending=False)


def _clean(text: str, told: Counter[str]) -> str:
    """The text as a person reads it, its lines kept; counts one that had been decoded wrongly."""
    if repair_encoding(text) != text:
        told["texts decoded wrongly and repaired"] += 1
    return "\n".join(line for line in map(clean_text, text.splitlines()) if line)


def _kept(text: str | None, extent: FetchBodies) -> str | None:
    return text if text is None or extent is FetchBodies.FULL else excerpt(text, EXCERPT)
