"""Sandboxes to talk to over real HTTP, and a clock the tests move. No client of ours is used here."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from azak_assets import krx
from azak_assets.sandbox import Limits, RecordedWorld, SeededWorld, UpstreamData, create_app
from tests.harness import SandboxServers

UNLIMITED = Limits(
    kis_a_second=10**9, naver_a_second=10**9, naver_a_day=10**9, opendart_a_day=10**9, reddit_in_ten_minutes=10**9,
    telegram_group_a_minute=10**9, telegram_chat_in_three_seconds=10**9,
)  # fmt: skip
QUOTATIONS = "/kis/uapi/domestic-stock/v1/quotations/"


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Broker:
    """Speaks to the broker's gateway as its reference says, and checks nothing."""

    def __init__(self, http: httpx.Client, app_key: str = "a-key") -> None:
        self.http = http
        self.keys = {"appkey": app_key, "appsecret": "a-secret"}
        self.token = ""

    def issue(self) -> httpx.Response:
        answer = self.http.post("/kis/oauth2/tokenP", json={"grant_type": "client_credentials", **self.keys})
        self.token = answer.json().get("access_token", self.token)
        return answer

    def get(self, service: str, tr_id: str, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
        if not self.token:
            self.issue()
        sent = {
            "authorization": f"Bearer {self.token}",
            "tr_id": tr_id,
            "custtype": "P",
            **self.keys,
            **(headers or {}),
        }
        return self.http.get(QUOTATIONS + service, headers=sent, params=query)

    def daily(self, code: str, start: str, end: str, adjusted: str = "1") -> list[dict[str, str]]:
        answer = self.get(
            "inquire-daily-itemchartprice", "FHKST03010100", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=code,
            FID_INPUT_DATE_1=start, FID_INPUT_DATE_2=end, FID_PERIOD_DIV_CODE="D", FID_ORG_ADJ_PRC=adjusted,
        )  # fmt: skip
        assert answer.json()["rt_cd"] == "0", answer.text
        rows: list[dict[str, str]] = answer.json()["output2"]
        return rows

    def index(self, code: str, start: str, end: str) -> list[dict[str, str]]:
        answer = self.get(
            "inquire-daily-indexchartprice", "FHKUP03500100", FID_COND_MRKT_DIV_CODE="U", FID_INPUT_ISCD=code,
            FID_INPUT_DATE_1=start, FID_INPUT_DATE_2=end, FID_PERIOD_DIV_CODE="D",
        )  # fmt: skip
        rows: list[dict[str, str]] = answer.json()["output2"]
        return rows

    def minutes(self, code: str, hour: str, day: str = "") -> list[dict[str, str]]:
        query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": code, "FID_INPUT_HOUR_1": hour}
        query["FID_PW_DATA_INCU_YN"] = "N"
        if day:
            answer = self.get("inquire-time-dailychartprice", "FHKST03010230", FID_INPUT_DATE_1=day, **query)
        else:
            answer = self.get("inquire-time-itemchartprice", "FHKST03010200", FID_ETC_CLS_CODE="", **query)
        rows: list[dict[str, str]] = answer.json()["output2"]
        return rows


def kst(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=krx.KST)  # type: ignore[arg-type,misc]


Start = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def servers() -> Iterator[SandboxServers]:
    with closing(SandboxServers()) as servers:
        yield servers


@pytest.fixture
def start(servers: SandboxServers) -> Iterator[Start]:
    """Serve a world; `start(world, clock=…)` gives an HTTP client to it. The call limits are off unless asked for."""
    with ExitStack() as stack:

        def run(world: UpstreamData, *, limits: Limits = UNLIMITED, **settings: Any) -> httpx.Client:
            app = create_app(world, limits=limits, **settings)
            url = stack.enter_context(servers.serve(app))
            return stack.enter_context(httpx.Client(base_url=url, timeout=60))

        yield run


@pytest.fixture(scope="session")
def seeded() -> SeededWorld:
    return SeededWorld(1)


@pytest.fixture(scope="session")
def recorded(recorded_data: Path) -> RecordedWorld:
    return RecordedWorld(recorded_data / "2022-01")


@pytest.fixture
def clock() -> Clock:
    """Friday, 2026-11-20, after the close."""
    return Clock(kst(2026, 11, 20, 18, 0))


@pytest.fixture
def http(start: Start, seeded: SeededWorld, clock: Clock) -> httpx.Client:
    return start(seeded, clock=clock)


@pytest.fixture
def broker(http: httpx.Client) -> Broker:
    return Broker(http)


@pytest.fixture
def make_broker() -> Callable[..., Broker]:
    return Broker
