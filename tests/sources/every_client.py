"""Every client of `sources` at one address, at one instant, without pauses or retries."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from local_servers import MemoryHosts, MemoryTokens, MemoryValidators, channel_of

from azak_assets import krx
from azak_assets.ports import Token
from azak_assets.sources.kis.client import KisClient
from azak_assets.sources.krx_openapi import KrxOpenApiClient
from azak_assets.sources.naver import NaverSearchClient
from azak_assets.sources.opendart import OpenDartClient
from azak_assets.sources.pages import PageReader
from azak_assets.sources.reddit import RedditClient
from azak_assets.sources.rss import RssClient
from azak_assets.sources.telegram import TelegramClient
from azak_assets.warehouse.calls.playback import Unlimited

CHANNEL = channel_of(Unlimited(), attempts=1)


class NoToken:
    """Asks the server for a token every time."""

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        return issue()


class Clients:
    """The clients at an address and an instant."""

    def __init__(self, url: str, now: str, tokens: MemoryTokens | None = None) -> None:
        self.now = datetime.fromisoformat(now).replace(tzinfo=krx.KST)
        self.tokens = tokens or MemoryTokens(lambda: self.now)
        common: dict[str, Any] = {"channel": CHANNEL, "per_second": 10_000, "sleep": lambda _: None}
        timed = {**common, "now": lambda: self.now}
        self.kis, self.kis_signing_in = (
            KisClient(
                base_url=f"{url}/kis", master_base_url=f"{url}/kis-master", app_key="a-key", app_secret="a-secret",
                tokens=tokens, **timed,
            )
            for tokens in (self.tokens, NoToken())
        )  # fmt: skip
        self.opendart = OpenDartClient(f"{url}/opendart/api", api_key="a-key", **common)
        self.krx = KrxOpenApiClient(f"{url}/krx/svc/apis", key="a-key", **timed)
        self.naver = NaverSearchClient(f"{url}/naver", client_id="an-id", client_secret="a-secret", **timed)
        self.rss = RssClient("hankyung", f"{url}/hankyung", validators=MemoryValidators(), **timed)
        self._url = url
        self.reddit = self._reddit()
        self.telegram = TelegramClient(
            f"{url}/telegram", token="123456:a-token-of-a-bot", channel=CHANNEL, sleep=lambda _: None
        )
        self.hosts = MemoryHosts()
        self.pages = PageReader(
            {"www.hankyung.com": f"{url}/hankyung"}, channel=CHANNEL, hosts=self.hosts, now=lambda: self.now,
            sleep=lambda _: None,
        )  # fmt: skip

    def _reddit(self) -> RedditClient:
        return RedditClient(
            base_url=f"{self._url}/reddit", client_id="an-id", client_secret="a-secret", channel=CHANNEL,
            now=lambda: self.now, sleep=lambda _: None,
        )  # fmt: skip

    def forget(self) -> None:
        """Forget what earlier answers said: tokens, calendars, hosts, feeds."""
        self.tokens._tokens.clear()
        self.kis._holidays = None
        self.hosts.kept.clear()
        self.pages.close()
        self.pages._ways.clear()
        self.reddit.close()
        self.reddit = self._reddit()

    def close(self) -> None:
        for client in (
            self.kis, self.kis_signing_in, self.opendart, self.krx, self.naver, self.rss, self.reddit, self.telegram,
            self.pages,
        ):  # fmt: skip
            client.close()
