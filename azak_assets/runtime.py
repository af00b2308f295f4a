"""What a process works with: settings, world, PostgreSQL and the clients of the upstreams, joined without Dagster.

Belongs here: joining these; commands and the resources of Dagster both start from here. Does not belong here: Dagster,
and anything that a room below could do alone.

Rooms are imported where an object is made: the definitions load this module, and must not pay for SQLAlchemy, Alembic,
psycopg, HTTP and feed libraries that only a run needs (1.5 s, as much as Dagster itself).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from azak_assets import krx
from azak_assets.ingest.reasons import Reason
from azak_assets.ports import Channel
from azak_assets.settings import EmbedderName, FetchBodies, Mode, Settings
from azak_assets.sources.failures import ContractChanged, NotConfigured, Unavailable
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from openai import OpenAI

    from azak_assets.ports import Clock, HostStore, RateLimiter, Recorder, Recordings, TokenStore, Usage, ValidatorStore
    from azak_assets.sources.kis.client import KisClient
    from azak_assets.sources.krx_openapi import KrxOpenApiClient
    from azak_assets.sources.naver import NaverSearchClient
    from azak_assets.sources.opendart import OpenDartClient
    from azak_assets.sources.pages import PageReader
    from azak_assets.sources.reddit import RedditClient
    from azak_assets.sources.rss import RssClient
    from azak_assets.text.embedders import Embedder
    from azak_assets.warehouse.calls.recordings import PayloadWriter
    from azak_assets.warehouse.postgres.database import Engine


@dataclass(frozen=True)
class World:
    """Which world the process works in: its stamp and, in the sandbox, the feeds it records and their days (KST)."""

    name: str
    feeds: frozenset[str] | None = None
    first_day: date | None = None
    last_day: date | None = None

    def records(self, feed: str) -> bool:
        """Whether a request for ``feed`` can have an answer at all; always so in the live world."""
        return self.feeds is None or feed in self.feeds


def is_live() -> bool:
    """Whether the environment means the live world; reads nothing else."""
    return Settings().mode is Mode.LIVE


def current_settings() -> Settings:
    """The environment, with every upstream pointed at the sandbox when that is the mode.

    Raises:
        NotConfigured: sandbox mode without a running sandbox; the message says how to get one.
    """
    settings = Settings()
    if settings.mode is Mode.LIVE:
        return settings
    if settings.azak_sandbox_url is None:
        raise NotConfigured(
            "sandbox",
            "AZAK_MODE is sandbox and AZAK_SANDBOX_URL names none",
            advice="Start everything with `azak up`, or run `azak sandbox` and set AZAK_SANDBOX_URL to its address",
        )
    return settings.in_sandbox(settings.azak_sandbox_url)


def current_world(settings: Settings) -> World:
    """Ask the sandbox which world it plays; the live world needs no question.

    Raises:
        Unavailable: the sandbox does not answer. ContractChanged: something else answers at its address.
    """
    import httpx  # noqa: PLC0415

    if settings.mode is Mode.LIVE:
        return World("live")
    url = f"{settings.azak_sandbox_url}/sandbox/world"
    try:
        answer = httpx.get(url, timeout=10).raise_for_status().json()
        first_day, last_day = (date.fromisoformat(answer[end]) for end in ("first_day", "last_day"))
        return World(answer["world"], frozenset(answer["feeds"]), first_day, last_day)
    except httpx.HTTPError as error:
        advice = "Start it with `azak sandbox`, or start everything with `azak up`"
        raise Unavailable("sandbox", f"it does not answer ({error})", url=url, advice=advice) from error
    except (ValueError, KeyError, TypeError) as error:
        advice = "Set AZAK_SANDBOX_URL to the address that `azak sandbox` prints"
        raise ContractChanged("sandbox", "the answer is not a sandbox's", url=url, advice=advice) from error


def database_url(settings: Settings) -> str:
    """The URL of Azak's own database; starts the embedded server where there is no other."""
    from azak_assets.warehouse.postgres import server  # noqa: PLC0415

    if settings.azak_database_url is not None:
        return settings.azak_database_url.get_secret_value()
    return server.ensure_running(settings.azak_home).url("azak")


@contextmanager
def open_warehouse(settings: Settings, of_world: World, *, run_id: str) -> Iterator[Warehouse]:
    """The warehouse of ``of_world``, stamped at first use.

    Raises:
        stamp.WorldMismatch: the database holds another world. database.DatabaseError: it cannot be reached.
    """
    from azak_assets.warehouse.postgres import database, stamp  # noqa: PLC0415

    engine = database.create_engine(database_url(settings))
    try:
        stamp.stamp(engine, of_world.name)
        yield Warehouse(engine, run_id=run_id)
    finally:
        engine.dispose()


def _needed(upstream: str, **values: SecretStr | None) -> list[str]:
    missing = [name.upper() for name, value in values.items() if value is None]
    if missing:
        raise NotConfigured(upstream, f"{' and '.join(missing)} not set")
    return [value.get_secret_value() for value in values.values() if value is not None]


class SystemClock:
    """The clock on the wall."""

    def now(self) -> datetime:
        """The present instant (KST)."""
        return datetime.now(krx.KST)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Stores:
    """What the clients of a process share with those of every other process, and how they reach their upstreams."""

    channel: Channel
    tokens: "TokenStore"
    validators: "ValidatorStore"
    hosts: "HostStore"
    recorder: "Recorder | None" = None
    """Closed with the clients."""

    @classmethod
    def in_postgres(
        cls, engine: "Engine", *, limiter: "RateLimiter | None" = None, recorder: "Recorder | None" = None
    ) -> "Stores":
        """The stores in PostgreSQL, and connections to the upstreams themselves.

        Args:
            engine: of a migrated database.
            limiter: another one than that of live work.
            recorder: records the answers; without it they are not recorded.
        """
        from azak_assets.sources.recording import recorded  # noqa: PLC0415
        from azak_assets.sources.transport import direct  # noqa: PLC0415
        from azak_assets.warehouse.calls.call_log import PostgresCallLog  # noqa: PLC0415
        from azak_assets.warehouse.calls.crawl_state import PostgresHosts, PostgresValidators  # noqa: PLC0415
        from azak_assets.warehouse.calls.rate_limit import PostgresRateLimiter, PostgresTokenStore  # noqa: PLC0415

        return cls(
            channel=Channel(
                limiter or PostgresRateLimiter(engine),
                PostgresCallLog(engine),
                direct if recorder is None else recorded(direct, recorder),
            ),
            tokens=PostgresTokenStore(engine),
            validators=PostgresValidators(engine),
            hosts=PostgresHosts(engine),
            recorder=recorder,
        )

    @classmethod
    def played_back(cls, recordings: "Recordings", *, hosts: "HostStore") -> "Stores":
        """Clients that get recorded answers alone: no request leaves the process, no token or ETag is stored."""
        from azak_assets.sources.recording import played_back  # noqa: PLC0415
        from azak_assets.warehouse.calls.playback import (  # noqa: PLC0415
            NoValidators,
            PlaybackTokens,
            Unlimited,
            Unlogged,
        )

        channel = Channel(Unlimited(), Unlogged(), played_back(recordings), attempts=1)
        return cls(channel, PlaybackTokens(), NoValidators(), hosts)

    def close(self) -> None:
        """Write what is still in memory."""
        self.channel.log.close()
        if self.recorder is not None:
            self.recorder.close()


@dataclass(frozen=True)
class Unavailability:
    """Why a feed cannot be asked for: the reason as a code, and a sentence for the operator."""

    reason: Reason
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class Upstreams:
    """The clients of this process's world, made when first asked for.

    Each property raises ``NotConfigured`` where credentials are missing; ``why_unavailable`` says whether asking makes
    sense.
    """

    def __init__(self, settings: Settings, of_world: World, stores: Stores, clock: "Clock | None" = None) -> None:
        self.settings = settings
        self.world = of_world
        self.stores = stores
        self.clock: Clock = clock or SystemClock()

    def now(self) -> datetime:
        """The instant at which the upstreams are asked (KST); in a re-run of recorded answers when they were asked."""
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait until ``now`` is so much later."""
        self.clock.sleep(seconds)

    def usage(self) -> "Mapping[str, Usage]":
        """The usage of each upstream that was called here."""
        return self.stores.channel.log.usage()

    @property
    def source(self) -> str:
        """What the provenance column ``source`` says: the sandbox's world, or nothing in the live one."""
        return "" if self.world.name == "live" else f"sandbox {self.world.name}: "

    def why_unavailable(self, feed: str, client: str) -> Unavailability | None:
        """Why nothing can be asked about ``feed`` from ``client`` here; None where it can."""
        if not self.world.records(feed):
            return Unavailability(Reason.NOT_RECORDED, "not recorded in this world: no request was made")
        try:
            getattr(self, client)
        except NotConfigured as missing:
            return Unavailability(Reason.NOT_CONFIGURED, f"not configured: {missing.what}")
        return None

    def close(self) -> None:
        """Close the connections of the clients that were made, and write what the stores hold in memory."""
        made = [self.__dict__.get(name) for name in ("kis", "krx_openapi", "opendart", "naver", "reddit", "pages")]
        for client in [*made, *self.__dict__.get("rss", [])]:
            if client is not None:
                client.close()
        self.stores.close()

    @cached_property
    def kis(self) -> "KisClient":
        """Korea Investment & Securities: bars, flows and master files."""
        from azak_assets.sources.kis.client import KisClient  # noqa: PLC0415

        key, secret = _needed("KIS", kis_app_key=self.settings.kis_app_key, kis_app_secret=self.settings.kis_app_secret)
        return KisClient(
            base_url=self.settings.kis_base_url,
            master_base_url=self.settings.kis_master_base_url,
            app_key=key,
            app_secret=secret,
            tokens=self.stores.tokens,
            channel=self.stores.channel,
            per_second=self.settings.kis_rate,
            now=self.now,
            sleep=self.sleep,
        )

    @cached_property
    def krx_openapi(self) -> "KrxOpenApiClient":
        """The exchange's Open API: a second source of prices, for reconciliation."""
        from azak_assets.sources.krx_openapi import KrxOpenApiClient  # noqa: PLC0415

        (key,) = _needed("KRX Open API", krx_openapi_key=self.settings.krx_openapi_key)
        return KrxOpenApiClient(
            self.settings.krx_openapi_base_url, key=key, channel=self.stores.channel, now=self.now, sleep=self.sleep
        )

    @cached_property
    def opendart(self) -> "OpenDartClient":
        """OpenDART: filings and company codes."""
        from azak_assets.sources.opendart import OpenDartClient  # noqa: PLC0415

        (key,) = _needed("OpenDART", opendart_api_key=self.settings.opendart_api_key)
        return OpenDartClient(
            base_url=self.settings.opendart_base_url, api_key=key, channel=self.stores.channel, sleep=self.sleep
        )

    @cached_property
    def naver(self) -> "NaverSearchClient":
        """Naver Search Open API: news by query."""
        from azak_assets.sources.naver import NaverSearchClient  # noqa: PLC0415

        client_id, secret = _needed(
            "Naver",
            naver_client_id=self.settings.naver_client_id,
            naver_client_secret=self.settings.naver_client_secret,
        )
        return NaverSearchClient(
            base_url=self.settings.naver_base_url,
            client_id=client_id,
            client_secret=secret,
            channel=self.stores.channel,
            now=self.now,
            sleep=self.sleep,
        )

    @cached_property
    def rss(self) -> "list[RssClient]":
        """The publishers' feeds; they need no key."""
        from azak_assets.sources.rss import RssClient  # noqa: PLC0415

        return [
            RssClient(
                name,
                base,
                channel=self.stores.channel,
                validators=self.stores.validators,
                now=self.now,
                sleep=self.sleep,
            )
            for name, base in (("hankyung", self.settings.hankyung_base_url), ("mk", self.settings.mk_base_url))
        ]

    @cached_property
    def reddit(self) -> "RedditClient":
        """Reddit: posts of a few subreddits."""
        from azak_assets.sources.reddit import RedditClient  # noqa: PLC0415

        client_id, secret = _needed(
            "Reddit",
            reddit_client_id=self.settings.reddit_client_id,
            reddit_client_secret=self.settings.reddit_client_secret,
        )
        return RedditClient(
            base_url=self.settings.reddit_base_url,
            client_id=client_id,
            client_secret=secret,
            channel=self.stores.channel,
            now=self.now,
            sleep=self.sleep,
        )

    @cached_property
    def pages(self) -> "PageReader":
        """The publishers' article pages; off unless the operator switches them on."""
        from azak_assets.sources.pages import PageReader  # noqa: PLC0415

        if self.settings.azak_fetch_bodies is FetchBodies.OFF:
            raise NotConfigured("article pages", "AZAK_FETCH_BODIES is off")
        bases = {"www.hankyung.com": self.settings.hankyung_base_url, "www.mk.co.kr": self.settings.mk_base_url}
        return PageReader(bases, channel=self.stores.channel, hosts=self.stores.hosts, now=self.now, sleep=self.sleep)


def rate_limiter(engine: "Engine", of_world: World, *, is_backfill: bool) -> "RateLimiter":
    """The shared rate limiter. A backfill leaves most of a live rate to live work while a session is open; the sandbox
    has no live work."""
    from azak_assets.warehouse.calls.rate_limit import PostgresRateLimiter  # noqa: PLC0415

    return PostgresRateLimiter(engine, live=of_world.name != "live" or not is_backfill)


def payload_writer(settings: Settings, of_world: World, *, run_id: str, about: Mapping[str, Any]) -> "PayloadWriter":
    """Where the answers to a run are kept, with what `azak replay-payloads` needs (``about``) to run it again."""
    from azak_assets.warehouse.calls.recordings import PayloadWriter, folder_of  # noqa: PLC0415

    return PayloadWriter(
        folder_of(settings.azak_home, of_world.name),
        run_id=run_id,
        about={**about, "feeds": sorted(of_world.feeds) if of_world.feeds is not None else None},
        keep_days=settings.azak_payload_days,
    )


@dataclass(frozen=True)
class Retrieval:
    """The embedder in use and the folder of its index files."""

    embedder: "Embedder"
    index_folder: Path


def retrieval(settings: Settings) -> Retrieval:
    """The embedder that AZAK_EMBEDDER names.

    Raises:
        NotConfigured: ``openai`` without OPENAI_API_KEY.
    """
    # Imported here: the code location loads without numpy.
    from azak_assets.text.embedders import KoSimCSEEmbedder, LocalEmbedder, OpenAIEmbedder  # noqa: PLC0415

    embedder: Embedder
    match settings.azak_embedder:
        case EmbedderName.LOCAL:
            embedder = LocalEmbedder()
        case EmbedderName.KOSIMCSE:
            embedder = KoSimCSEEmbedder()
        case EmbedderName.OPENAI:
            (key,) = _needed("OpenAI", openai_api_key=settings.openai_api_key)
            embedder = OpenAIEmbedder(key, settings.openai_base_url)
    return Retrieval(embedder, settings.azak_home / "index")


class ChatModels:
    """The OpenAI-compatible clients that are configured, by provider, and what a day may cost in USD (None: any)."""

    def __init__(self, settings: Settings) -> None:
        # Imported here: it costs a second that loading the definitions must not pay.
        from azak_assets.forecast.llm import chat_client  # noqa: PLC0415

        # The sandbox's models name prices and cost nothing.
        self.budget_usd = settings.azak_llm_budget_usd if settings.mode is Mode.LIVE else None
        self.clients: dict[str, OpenAI] = {}
        if settings.openai_api_key is not None:
            self.clients["openai"] = chat_client(settings.openai_api_key.get_secret_value(), settings.openai_base_url)
        if settings.openrouter_api_key is not None:
            self.clients["openrouter"] = chat_client(
                settings.openrouter_api_key.get_secret_value(), settings.openrouter_base_url
            )
