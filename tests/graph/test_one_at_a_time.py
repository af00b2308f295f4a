"""Steps that read, compute and replace: of two at once the staler would undo what the newer has written."""

import threading
import time

import dagster as dg
import pytest
import sqlalchemy as sa

from azak_assets.defs.news.assets import article_clusters, mentions
from azak_assets.defs.scores.assets import model_evaluations
from azak_assets.warehouse.warehouse import Warehouse

DAY = "2026-11-20"
WAITING = (
    "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    " and database = (select oid from pg_database where datname = current_database())"
)
PATIENCE_S = 60


@pytest.mark.parametrize(
    ("asset", "lock"),
    [(article_clusters, "article clusters"), (mentions, "mentions"), (model_evaluations, "evaluations")],
    ids=["clusters", "mentions", "evaluations"],
)
def test_a_second_one_waits_until_the_first_is_done(asset: dg.AssetsDefinition, lock: str, engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, run_id="a-run")
    outcome: list[bool] = []

    def materialize() -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([asset], instance=instance, partition_key=DAY, resources={"warehouse": warehouse})
        outcome.append(result.success)

    second = threading.Thread(target=materialize)
    with warehouse.exclusive(lock), engine.connect() as connection:
        second.start()
        deadline = time.monotonic() + PATIENCE_S
        while not connection.execute(sa.text(WAITING)).scalar_one():
            assert not outcome, "it did not wait"
            assert time.monotonic() < deadline
            connection.rollback()
            time.sleep(0.05)
        assert not outcome
    second.join(PATIENCE_S)
    assert outcome == [True]
