"""What 5,000 articles and 600 filings cost beside the network: read, told apart, and in PostgreSQL.

`python -m benchmarks.landing`. The assets themselves in the live mode; the answers lie in memory where httpx would ask,
and no call waits for a slot. The bar (issue of the feeds): under ten seconds together.
"""

import contextlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.cli.environment import ready_manifest
from azak_assets.runtime import Stores, Upstreams, World, current_settings, payload_writer
from azak_assets.warehouse.calls.playback import Unlimited
from azak_assets.warehouse.postgres import database
from azak_assets.warehouse.warehouse import Warehouse
from benchmarks.bars import Row, finish
from benchmarks.daily_session import fill_stocks
from benchmarks.load_partition import own_database

LIVE = World("live")
ARTICLES, A_PAGE, FILINGS, A_FILING_PAGE = 5_000, 100, 600, 100
MARKET_QUERIES = 3
QUERIES = ARTICLES // A_PAGE
BAR_S = 10.0
SENTENCES = (
    "{0}, 3분기 영업이익 전년 대비 {1}% 증가", "[단독] {0} 차세대 배터리 {1}억 원 투자",
    "외국인 순매수에 {0} {1}일 만에 신고가", "{0} 노사, 임금 {1}만 원 인상 잠정 합의",
    "&quot;{0}&quot; <b>목표가</b> {1}만 원으로 상향",
)  # fmt: skip


def items(query: int, now: datetime) -> list[dict[str, str]]:
    """A hundred articles that nobody else found, of the last twelve hours."""
    rows = []
    for number in range(A_PAGE):
        own = query * A_PAGE + number
        title = SENTENCES[own % len(SENTENCES)].format(f"회사{own}", own)
        at = now - timedelta(seconds=8 * own)
        rows.append(
            {
                "title": title, "originallink": f"https://www.press{own % 40}.co.kr/news/{own}?utm_source=naver",
                "link": f"https://n.news.naver.com/mnews/article/{own % 900:03}/{own:010}?sid=101",
                "description": f"{title}. " + "국내 증시에서 <b>관련주</b>가 함께 움직였다. " * 6,
                "pubDate": format_datetime(at),
            }
        )  # fmt: skip
    return rows


def filings(now: datetime) -> list[dict[str, str]]:
    """Filings of today, every tenth a correction of the one nine before it."""
    rows = []
    for number in range(FILINGS):
        about, mark = (number - 9, "[기재정정]") if number % 10 == 0 and number else (number, "")
        rows.append(
            {
                "corp_code": f"{about:08}", "corp_name": f"회사{about}", "stock_code": "", "corp_cls": "Y",
                "report_nm": f"{mark}주요사항보고서(유상증자결정)", "rcept_no": f"{now:%Y%m%d}{number:06}",
                "flr_nm": f"회사{about}", "rcept_dt": f"{now:%Y%m%d}", "rm": "유",
            }
        )  # fmt: skip
    return rows


class Memory:
    """Answers every request out of memory, and counts the seconds that takes: they are the network's."""

    def __init__(self, now: datetime, names: Sequence[str]) -> None:
        self.seconds, self.requests = 0.0, 0
        self._pages = {
            name: json.dumps({"total": A_PAGE, "start": 1, "items": items(number, now)}).encode()
            for number, name in enumerate(names)
        }
        self._filings = filings(now)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """What httpx calls for each request."""
        began = time.perf_counter()
        self.requests += 1
        response = self._answer(request)
        self.seconds += time.perf_counter() - began
        return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        asked = dict(request.url.params)
        if "query" in asked:
            return httpx.Response(200, content=self._pages[asked["query"]])
        if request.url.path.endswith("/list.json"):
            page = int(asked["page_no"])
            body: dict[str, Any] = {
                "status": "000", "message": "정상", "page_no": page, "page_count": A_FILING_PAGE,
                "total_count": FILINGS, "total_page": FILINGS // A_FILING_PAGE,
                "list": self._filings[(page - 1) * A_FILING_PAGE : page * A_FILING_PAGE],
            }  # fmt: skip
            return httpx.Response(200, content=json.dumps(body).encode())
        return httpx.Response(304)


def main() -> None:
    """Print and keep the seconds of both."""
    warnings.simplefilter("ignore")
    ready_manifest()
    now = datetime.now(krx.KST).replace(microsecond=0)
    session = krx.session_on_or_after(now.date())
    names = ["증시", "코스피", "코스닥", *(f"종목{number}" for number in range(QUERIES - MARKET_QUERIES))]
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as home, own_database(None) as url:
        os.environ |= {
            "AZAK_HOME": home, "AZAK_MODE": "live", "AZAK_DATABASE_URL": url, "NAVER_CLIENT_ID": "an-id",
            "NAVER_CLIENT_SECRET": "a-secret", "OPENDART_API_KEY": "a-key-of-forty-characters",
        }  # fmt: skip
        memory = Memory(now, names)
        httpx.HTTPTransport.handle_request = memory  # type: ignore[method-assign] - an object is not bound
        engine = database.create_engine(url)
        codes = [f"{number:06}" for number in range(100_000, 100_000 + QUERIES - MARKET_QUERIES)]
        fill_stocks(engine, codes, names[MARKET_QUERIES:], tier=1)
        seconds = _materialize(session.day.isoformat(), engine)
        counted = "select (select count(*) from raw.news_articles), (select count(*) from raw.disclosures)"
        amended = "select count(*) from raw.disclosures where amends_rcept_no is not null"
        with engine.connect() as connection:
            landed = connection.execute(sa.text(counted)).one()
            corrections = connection.execute(sa.text(amended)).scalar_one()
        engine.dispose()
    assert tuple(landed) == (ARTICLES, FILINGS), landed
    assert corrections == FILINGS // 10 - 1, corrections
    together = sum(seconds.values()) - memory.seconds
    finish(
        "landing",
        [
            Row(f"{ARTICLES:,} articles and {FILINGS} filings, read and landed", together, "s", BAR_S,
                details={**seconds, "answering": memory.seconds, "requests": memory.requests}),
            Row("articles a second", ARTICLES / seconds["articles"], "/s"),
            Row("filings a second", FILINGS / seconds["filings"], "/s"),
        ],
    )  # fmt: skip


def _materialize(partition: str, engine: sa.Engine) -> dict[str, float]:
    import dagster as dg  # noqa: PLC0415 - the environment and the manifest come first

    from azak_assets.defs.disclosures.assets import disclosures  # noqa: PLC0415
    from azak_assets.defs.news.assets import news  # noqa: PLC0415

    settings, run_id = current_settings(), "benchmark"
    recorder = payload_writer(settings, LIVE, run_id=run_id, about={})
    stores = Stores.in_postgres(engine, limiter=Unlimited(), recorder=recorder)
    upstreams = Upstreams(settings, LIVE, stores)
    seconds = {}
    with dg.DagsterInstance.ephemeral() as instance, contextlib.redirect_stderr(io.StringIO()):
        for name, asset in (("articles", news), ("filings", disclosures)):
            began = time.monotonic()
            result = dg.materialize(
                [asset],
                instance=instance,
                partition_key=partition,
                resources={"warehouse": Warehouse(engine, run_id=run_id), "upstreams": upstreams},
            )
            seconds[name] = time.monotonic() - began
            assert result.success
    upstreams.close()
    return seconds


if __name__ == "__main__":
    main()
