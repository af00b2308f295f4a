"""The rate at which an account may be asked reaches the shared limiter: 15 a second live, one in 1.1 s on paper."""

from datetime import date

import pytest
import sqlalchemy as sa
from local_servers import APP_KEY, APP_SECRET, KisServer
from pydantic import SecretStr

from azak_assets.runtime import Stores, Upstreams, World
from azak_assets.settings import Mode, Settings
from azak_assets.sources.failures import Empty

PAPER = "https://openapivts.koreainvestment.com:29443"


class Rates:
    """A limiter that admits every call and records at which rate it was asked."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, float]] = set()

    def acquire(self, name: str, per_second: float) -> None:
        self.asked.add((name, per_second))


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 15),
        ({"kis_calls_per_second": 2.5}, 2.5),
        ({"kis_base_url": PAPER}, 1 / 1.1),
        ({"kis_base_url": PAPER, "kis_calls_per_second": 0.5}, 0.5),
    ],
)
def test_every_call_is_limited_at_the_accounts_rate(
    kis: KisServer, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], rate: float
) -> None:
    keys = {"kis_app_key": SecretStr(APP_KEY), "kis_app_secret": SecretStr(APP_SECRET)}
    settings = Settings().model_copy(update={"azak_mode": Mode.LIVE, "kis_base_url": kis.server.url, **keys, **changes})
    rates = Rates()
    upstreams = Upstreams(settings, World("live"), Stores.in_postgres(engine, limiter=rates))
    # The paper host names the rate; the calls go to the local server.
    monkeypatch.setattr(upstreams.kis._gateway.http, "_base_url", kis.server.url)
    with pytest.raises(Empty):
        upstreams.kis.daily_bars("005930", date(2022, 1, 3), date(2022, 1, 3))
    upstreams.close()
    assert rates.asked == {("kis", rate)}
