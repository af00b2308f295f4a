"""An asset is a table: what the decorators of all our tables repeat, said once.

Belongs here: key, table name, kinds, partitions and backfill policy of a table that a step of ours writes. Does not
belong here: dbt's models (`marts`), and what a single asset declares (owner, source, dependencies, checks, pool).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

from azak_assets.partitions import TRADING_DAYS

KINDS = frozenset({"python", "postgres"})


def table_asset(
    relation: str,
    *,
    owner: str,
    deps: Iterable[str] = (),
    pool: str | None = None,
    version: str = "1",
    kinds: Iterable[str] = (),
    is_daily: bool = True,
    check_specs: Sequence[dg.AssetCheckSpec] = (),
    tags: dict[str, str] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare the step that writes one table; the docstring of the step is the description of the asset.

    Args:
        relation: `schema.table`, which is the asset key too.
        owner: team that answers for the table, as `market-data`.
        deps: relations that the step reads.
        pool: the upstream that the step asks, so that few runs ask it at once.
        version: raised when the same input gives other rows.
        kinds: what else than Python and PostgreSQL the step uses.
        is_daily: one partition a trading day, a range of them in one run; else the table is not partitioned.
        check_specs: checks whose verdict the step itself gives.
        tags: further tags.
    """
    daily: dict[str, Any] = {"partitions_def": TRADING_DAYS, "backfill_policy": dg.BackfillPolicy.single_run()}
    declare: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key=_key(relation),
        deps=[_key(one) for one in deps],
        kinds={*KINDS, *kinds},
        owners=[f"team:{owner}"],
        code_version=version,
        pool=pool,
        metadata={"dagster/table_name": relation},
        check_specs=list(check_specs),
        tags=tags,
        **(daily if is_daily else {}),
    )

    def decorate(step: Callable[..., Any]) -> dg.AssetsDefinition:
        # Dagster refuses the generic form, which mypy wants, for a step that gives the verdict of checks too.
        if step.__annotations__.get("return") == dg.MaterializeResult[None]:
            step.__annotations__["return"] = dg.MaterializeResult
        return declare(step)

    return decorate


def table_spec(
    relation: str,
    description: str,
    *,
    owner: str,
    deps: Iterable[str] = (),
    version: str = "1",
    kinds: Iterable[str] = (),
    tags: dict[str, str] | None = None,
) -> dg.AssetSpec:
    """One table of a step that writes several (`dg.multi_asset`); the arguments are those of `table_asset`."""
    return dg.AssetSpec(
        _key(relation),
        description=description,
        deps=[_key(one) for one in deps],
        kinds={*KINDS, *kinds},
        owners=[f"team:{owner}"],
        code_version=version,
        metadata={"dagster/table_name": relation},
        tags=tags or {},
    )


def _key(relation: str) -> dg.AssetKey:
    return dg.AssetKey(relation.split("."))
