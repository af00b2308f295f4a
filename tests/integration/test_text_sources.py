"""Reddit, the feeds and article pages through their assets, over real HTTP into a real database."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import prawcore.rate_limit
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tenacity import wait_none

from azak_assets import krx
from azak_assets.defs.news import assets as news
from azak_assets.defs.news import bodies, reddit
from azak_assets.ingest import news as news_collection
from azak_assets.ingest import pages
from azak_assets.runtime import Upstreams, World
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.sandbox.worlds.world import Article, Post
from azak_assets.settings import FetchBodies, Mode, Settings
from azak_assets.sources import transport
from azak_assets.sources.reddit import SUBREDDITS
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import Unbounded, materialize, stores_of

TODAY = krx.session_on_or_after(datetime.now(krx.KST).date()).day
UNLIMITED = Limits(naver_a_second=10**9, naver_a_day=10**9)


class Changing(SeededWorld):
    """The seeded world, with what a test says instead of it."""

    def __init__(self, like: SeededWorld) -> None:
        vars(self).update(vars(like))  # a market takes a second to draw
        self.now_posts: dict[str, list[Post]] | None = None
        self.now_headlines: list[Article] | None = None

    def posts(self, subreddit: str, now: datetime) -> Any:
        return super().posts(subreddit, now) if self.now_posts is None else self.now_posts.get(subreddit)

    def headlines(self, press: str, now: datetime, limit: int) -> Any:
        if self.now_headlines is None:
            return super().headlines(press, now, limit)
        return [one for one in self.now_headlines if one.press == press]

    def page(self, address: str, now: datetime) -> Any:
        return next((one for one in self.now_headlines or [] if one.original_link == address), None)

    def search(self, query: str, now: datetime) -> Any:
        return [] if self.now_headlines is not None else super().search(query, now)


class Steps:
    """Assets materialized in this process over a fresh database, each time as another process would."""

    def __init__(self, url: str, engine: sa.Engine) -> None:
        self.url = url
        self.engine = engine
        self.settings = Settings().in_sandbox(url)
        told = httpx.get(f"{url}/sandbox/world").json()
        self.world = World(told["world"], frozenset(told["feeds"]))

    def make(self, asset: dg.AssetsDefinition, day: date = TODAY) -> tuple[bool, str, dict[str, Any]]:
        """(whether it succeeded, what a user is told when it did not, the first metadata)."""
        upstreams = Upstreams(self.settings, self.world, stores_of(self.engine, limiter=Unbounded(), attempts=2))
        with closing(upstreams):
            warehouse = Warehouse(self.engine, run_id="a run")
            made = materialize(asset, {"warehouse": warehouse, "upstreams": upstreams}, partition=str(day))
        return made.success, made.said, made.metadata

    def query(self, statement: str) -> list[tuple]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


@pytest.fixture(scope="module")
def seeded() -> SeededWorld:
    return SeededWorld(1)


@pytest.fixture
def world(seeded: SeededWorld) -> Changing:
    return Changing(seeded)


@pytest.fixture
def steps(world: Changing, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    monkeypatch.setattr(transport, "_backoff", wait_none())
    monkeypatch.setattr(prawcore.rate_limit.RateLimiter, "delay", lambda self: None)  # it spreads nine calls over 5 s
    with start_in_thread(create_app(world, limits=UNLIMITED)) as url:
        yield Steps(url, engine)


NOW = datetime.now(krx.KST).replace(microsecond=0)


def a_post(post_id: str = "abc", score: int = 50, **changes: Any) -> Post:
    given = {
        "subreddit": "stocks", "title": "KOSPI at a high", "text": "Why?\nAnd how long?", "link": "", "author": "me",
        "published_at": NOW - timedelta(hours=1), "comments": 9, "removed_by": "", "is_pinned": False, **changes,
    }  # fmt: skip
    return Post(post_id=post_id, score=score, **given)


# --- Reddit ---------------------------------------------------------------------------------------------------------


def test_a_sessions_posts_land_by_the_day_they_became_known(steps: Steps) -> None:
    succeeded, said, metadata = steps.make(reddit.reddit_posts)
    assert succeeded, said
    assert metadata["inserted"] == metadata["rows"] > 20
    assert metadata["rejected"] == 0
    assert metadata["posts below the thresholds"] > 20
    assert metadata["removed posts"] > 0
    assert metadata["subreddits"].count(" posts") == 4
    ((count, days, least, comments, gone),) = steps.query(
        "select count(*), array_agg(distinct trading_day), min(score), min(comments), count(*) filter (where author is"
        " null) from raw.reddit_posts where known_at = observed_at"
    )
    assert (count, days) == (metadata["rows"], [TODAY])
    assert least >= 10
    assert comments >= 2
    assert gone > 0
    assert steps.query("select distinct source from raw.reddit_posts") == [("sandbox seed:1: reddit",)]


def test_a_score_that_moves_is_no_new_version_and_the_first_one_stays(steps: Steps, world: Changing) -> None:
    for score in (50, 51, 900):
        world.now_posts = {name: [a_post(name, score)] for name in SUBREDDITS}
        succeeded, said, metadata = steps.make(reddit.reddit_posts)
        assert succeeded, said
    assert (metadata["unchanged"], metadata["changed"]) == (4, 0)
    assert steps.query("select distinct score from raw.reddit_posts") == [(50,)]
    assert steps.query("select count(*) from raw.reddit_posts_history") == [(0,)]


def test_an_edited_post_is_a_new_version_of_the_same_post(steps: Steps, world: Changing) -> None:
    world.now_posts = {"stocks": [a_post()]}
    assert steps.make(reddit.reddit_posts)[0]
    world.now_posts = {"stocks": [a_post(score=77, text="Why?\nEdit: never mind", author="")]}
    _, _, metadata = steps.make(reddit.reddit_posts)
    assert metadata["changed"] == 1
    versions = "select text, score, author from raw.reddit_posts{} where post_id = 'abc'"
    assert steps.query(versions.format("")) == [("Why?\nEdit: never mind", 77, None)]
    assert steps.query(versions.format("_history")) == [("Why?\nAnd how long?", 50, "me")]


def test_a_subreddit_that_is_gone_is_told_and_the_others_land(steps: Steps, world: Changing) -> None:
    world.now_posts = {"stocks": [a_post()]}
    succeeded, said, metadata = steps.make(reddit.reddit_posts)
    assert succeeded, said
    assert metadata["rows"] == 1
    assert metadata["subreddits"].count("take it out of SUBREDDITS") == 3


def test_no_subreddit_at_all_fails_with_the_cause(steps: Steps, world: Changing) -> None:
    world.now_posts = {}
    succeeded, said, _ = steps.make(reddit.reddit_posts)
    assert not succeeded
    assert "No subreddit answered" in said
    assert "There is no r/Korea_Stock any more" in said


def test_refused_keys_end_the_round_at_once(steps: Steps) -> None:
    steps.settings = steps.settings.model_copy(update={"reddit_client_id": SecretStr("invalid-id")})
    succeeded, said, _ = steps.make(reddit.reddit_posts)
    assert not succeeded
    assert said.count("Check REDDIT_CLIENT_ID") == 1


def test_without_keys_reddit_is_not_configured_and_green(steps: Steps) -> None:
    steps.settings = steps.settings.model_copy(update={"reddit_client_secret": None})
    succeeded, said, metadata = steps.make(reddit.reddit_posts)
    assert succeeded, said
    assert metadata["reason"] == "not_configured"
    assert "REDDIT_CLIENT_SECRET" in metadata["state"]


def test_reddits_past_is_not_asked_for_and_says_so(steps: Steps, world: Changing) -> None:
    world.now_posts = {}  # whoever asks fails
    succeeded, said, metadata = steps.make(reddit.reddit_posts, krx.previous_session(TODAY).day)
    assert succeeded, said
    assert metadata["reason"] == "past_reach"
    assert metadata["rows"] == 0


# --- the feeds ------------------------------------------------------------------------------------------------------


def headline(title: str, description: str = "첫 문장.", number: int = 1, press: str = "매일경제") -> Article:
    site = "www.mk.co.kr/news/stock" if press == "매일경제" else "www.hankyung.com/article"
    return Article(title, description, press, "", f"https://{site}/{number}", NOW - timedelta(hours=1))


FEEDS = "select feed, etag is not null from ops.feed_validators order by 1"


def test_a_feed_is_sent_once_and_again_only_when_it_has_changed(steps: Steps, world: Changing) -> None:
    world.now_headlines = [headline("코스피 상승")]
    _, _, metadata = steps.make(news.news)
    assert (metadata["inserted"], metadata.get("unchanged feeds")) == (1, None)
    assert steps.query(FEEDS) == [("mk /rss/50200011/", True)], "the other feed has no item, which is a failure"
    # Another run, another process: nothing of it remembers but the database.
    _, _, metadata = steps.make(news.news)
    assert (metadata["rows"], metadata["unchanged feeds"]) == (0, 1)
    world.now_headlines = [headline("[정정] 코스피 상승"), headline("코스닥 하락", number=2)]
    _, _, metadata = steps.make(news.news)
    assert (metadata["inserted"], metadata["changed"], metadata.get("unchanged feeds")) == (1, 1, None)


def test_a_run_about_the_past_confirms_nothing(steps: Steps, world: Changing) -> None:
    """It keeps of a feed what belongs to its sessions: the rest must be sent again to whoever asks about today."""
    world.now_headlines = [headline("코스피 상승")]
    assert steps.make(news.news, krx.previous_session(TODAY).day)[0]
    assert steps.query(FEEDS) == []
    _, _, metadata = steps.make(news.news)
    assert metadata["inserted"] == 1


def test_items_that_could_not_be_stored_are_sent_again(steps: Steps, world: Changing, monkeypatch: Any) -> None:
    world.now_headlines = [headline("코스피 상승")]
    with monkeypatch.context() as broken:

        def fails(*_: Any, **__: Any) -> None:
            raise OSError("the disk is full")

        broken.setattr(Warehouse, "append", fails)
        assert not steps.make(news.news)[0]
    assert steps.query(FEEDS) == []
    assert steps.make(news.news)[0]
    assert steps.query("select count(*) from raw.news_sightings") == [(1,)]


def test_an_edited_headline_is_a_new_version_of_the_same_article_and_seen_once(steps: Steps, world: Changing) -> None:
    for title in ("코스피 &lt;상승&gt; 마감", "코스피 &lt;상승&gt; 마감", "[정정] 코스피 하락 마감"):
        world.now_headlines = [headline(title)]
        assert steps.make(news.news)[0]
    assert steps.query("select title from raw.news_articles") == [("[정정] 코스피 하락 마감",)]
    assert steps.query("select title from raw.news_articles_history") == [("코스피 <상승> 마감",)]
    assert len(steps.query("select * from raw.news_sightings")) == 1


@pytest.mark.parametrize(
    ("garble", "counted"),
    [
        (lambda text: text, 0),
        (lambda text: text.encode().decode("latin-1"), 0),  # feedparser undoes this one itself
        (lambda text: text.encode("cp949").decode("latin-1"), 1),
    ],
)
def test_text_that_was_decoded_wrongly_is_repaired_and_counted(
    steps: Steps, world: Changing, garble: Callable[[str], str], counted: int
) -> None:
    world.now_headlines = [headline(garble("외국인 매수에 코스피 상승"), "")]
    _, _, metadata = steps.make(news.news)
    assert metadata["texts decoded wrongly and repaired"] == counted
    assert steps.query("select title from raw.news_articles") == [("외국인 매수에 코스피 상승",)]


def test_answers_in_cp949_are_read_and_counted(steps: Steps, world: Changing) -> None:
    world.now_headlines = [headline("외국인 매수에 코스피 상승")]
    httpx.post(f"{steps.url}/sandbox/faults", json={"path": "/mk", "kind": "cp949"}).raise_for_status()
    _, _, metadata = steps.make(news.news)
    assert metadata["answers in CP949"] == 1
    assert steps.query("select title from raw.news_articles") == [("외국인 매수에 코스피 상승",)]


# --- article pages --------------------------------------------------------------------------------------------------


def test_pages_are_not_read_unless_the_operator_says_so(steps: Steps) -> None:
    succeeded, said, metadata = steps.make(bodies.article_bodies)
    assert succeeded, said
    assert metadata["reason"] == "not_configured"
    assert "AZAK_FETCH_BODIES" in metadata["state"]


@pytest.fixture
def with_pages(steps: Steps, world: Changing, monkeypatch: pytest.MonkeyPatch) -> Callable[[FetchBodies], Steps]:
    """Steps that know twenty articles of each publisher, and may read their pages."""

    def switch_on(extent: FetchBodies) -> Steps:
        world.now_headlines = [
            headline(f"코스피 {n}포인트 상승", number=n, press=press)
            for press in ("매일경제", "한국경제")
            for n in range(20)
        ]
        steps.settings = steps.settings.model_copy(update={"azak_fetch_bodies": extent})
        monkeypatch.setattr(news_collection, "MARKET_QUERIES", ())
        assert steps.make(news.news)[0]
        return steps

    return switch_on


def test_an_excerpt_is_kept_of_each_page_and_each_is_read_once(with_pages: Any, monkeypatch: Any) -> None:
    steps = with_pages(FetchBodies.EXCERPT)
    monkeypatch.setattr(pages, "EXCERPT", 60)
    monkeypatch.setattr(pages, "MOST_PAGES", 30)
    succeeded, said, first = steps.make(bodies.article_bodies)
    assert succeeded, said
    assert (first["inserted"], first["left for the next run"]) == (30, 10)
    for inserted in (10, 0):
        _, _, metadata = steps.make(bodies.article_bodies)
        assert (metadata["inserted"], metadata["changed"], metadata["left for the next run"]) == (inserted, 0, 0)
    rows = steps.query("select status, extent, text, characters, known_at = observed_at from raw.article_bodies")
    assert {row[0] for row in rows} == {"read", "no_text"}
    assert all(row[4] for row in rows)
    read = [row for row in rows if row[0] == "read"]
    assert {row[1] for row in read} == {"excerpt"}
    assert all(len(row[2]) <= 60 and row[2].endswith("…") and row[3] > 100 for row in read)
    assert all(row[1:4] == (None, None, None) for row in rows if row[0] == "no_text")
    assert first["answers in CP949"] > 0
    assert first["read"] + first["no_text"] == 30
    assert steps.query("select host, robots <> '', refusal from ops.crawled_hosts order by 1") == [
        ("www.hankyung.com", True, None),
        ("www.mk.co.kr", True, None),
    ]


def test_a_page_that_always_fails_holds_up_no_other(with_pages: Any) -> None:
    steps = with_pages(FetchBodies.EXCERPT)
    order = {"path": "/mk/news/stock/7", "kind": "500", "times": 10_000}
    httpx.post(f"{steps.url}/sandbox/faults", json=order).raise_for_status()
    for inserted in (39, 0):
        succeeded, said, metadata = steps.make(bodies.article_bodies)
        assert succeeded, said
        assert (metadata["inserted"], metadata["pages that failed"]) == (inserted, 1)
        assert metadata["left for the next run"] == 1
        assert metadata["hosts left alone"] == "none"


def test_a_host_that_is_down_is_given_up_after_a_few_pages(with_pages: Any) -> None:
    steps = with_pages(FetchBodies.EXCERPT)
    order = {"path": "/mk/news", "kind": "500", "times": 10_000}
    httpx.post(f"{steps.url}/sandbox/faults", json=order).raise_for_status()
    _, _, metadata = steps.make(bodies.article_bodies)
    assert (metadata["inserted"], metadata["pages that failed"]) == (20, pages.FAILURES_IN_A_ROW)
    assert metadata["hosts left alone"].count("HTTP 500") == 1


def test_the_whole_text_is_kept_where_the_operator_states_that_it_may_be(with_pages: Any, monkeypatch: Any) -> None:
    steps = with_pages(FetchBodies.FULL)
    monkeypatch.setattr(pages, "MOST_PAGES", 5)
    assert steps.make(bodies.article_bodies)[0]
    rows = steps.query("select extent, text, characters from raw.article_bodies where status = 'read'")
    assert rows
    assert all((extent, len(text)) == ("full", characters) for extent, text, characters in rows)
    assert all("\n" in text for _, text, _ in rows)


def test_a_publisher_that_refuses_is_left_alone_and_the_other_is_read(with_pages: Any, monkeypatch: Any) -> None:
    steps = with_pages(FetchBodies.EXCERPT)
    from azak_assets.sandbox.wire import pages as wire  # noqa: PLC0415 - its robots are changed here alone

    monkeypatch.setitem(wire.ROBOTS, "mk", "User-agent: Azak\nDisallow: /\n")
    with steps.engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into ops.crawled_hosts"
                " values ('www.hankyung.com', '', 'HTTP 403: Forbidden', clock_timestamp())"
            )
        )
    monkeypatch.setattr(pages, "MOST_PAGES", 200)
    succeeded, said, metadata = steps.make(bodies.article_bodies)
    assert succeeded, said
    assert metadata["hosts left alone"].count("left alone: HTTP 403") == 1
    assert steps.query("select distinct status from raw.article_bodies") == [("disallowed",)]
    assert metadata["left for the next run"] == 20


# --- all in the live world, from the contract alone ------------------------------------------------------------------


def test_the_live_world_speaks_to_any_server_of_the_contract(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.settings = steps.settings.model_copy(update={"azak_mode": Mode.LIVE})
    steps.world = World("live")
    succeeded, said, metadata = steps.make(reddit.reddit_posts)
    assert succeeded, said
    assert metadata["inserted"] > 20
    assert steps.query("select distinct source from raw.reddit_posts") == [("reddit",)]
