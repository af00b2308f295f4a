"""Texts of article pages, where the operator has switched them on.

Belongs here: declaring their table. Rights differ from those of a feed, so texts lie in a table of their own. Does not
belong here: which pages are read and how much of a text is kept (`ingest.pages`).
"""

import dagster as dg

from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse


@table_asset("raw.article_bodies", owner="news", deps=["raw.news_articles"], pool="publishers")
def article_bodies(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Texts of the publishers' own pages (Hankyung, Maeil), off unless AZAK_FETCH_BODIES says otherwise.

    Grain: one row an article asked for, with what came of it. A page is read once, and again only when its article has
    a new version; robots.txt decides, one page a second and host, and a host that refuses is left alone for the day. An
    excerpt of 500 characters is kept unless the operator states that the whole text may be. Known defects: a text
    behind a paywall has no row of text; what a page said before it was read is not known.
    """
    from azak_assets.ingest.pages import collect_pages  # noqa: PLC0415 - pandas: runs only

    if skipped := skip_unless_available(context, upstreams, "article_pages", "pages"):
        return skipped
    window = window_of(context)
    with failures_of(f"article pages {window.label}"):
        report = collect_pages(
            warehouse,
            upstreams.pages,
            window.first.day,
            window.last.day,
            extent=upstreams.settings.azak_fetch_bodies.value,
            source=f"{upstreams.source}article pages",
            log=context.log,
        )
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})
