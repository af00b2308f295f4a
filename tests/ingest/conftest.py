"""A warehouse on a fresh database and the upstreams of text, for collecting without Dagster."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from azak_assets.warehouse.warehouse import Warehouse
from tests.ingest.text_sources import Upstream


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()
