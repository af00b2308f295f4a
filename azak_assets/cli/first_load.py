"""The first load of `azak up`: reference assets and what is missing of the newest sessions, over Dagster's GraphQL API.

Belongs here: choosing the sessions, launching the run and the backfills, following them on the console. Does not belong
here: asking (`graphql`), ending the first load of a killed `azak up` (`dead_runs`).
"""

import time
from datetime import date, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from azak_assets import krx
from azak_assets.cli.environment import PRICE_HISTORY, CannotStart, history_of
from azak_assets.cli.graphql import CODE_LOCATION, POLL_S, ask, ask_patiently
from azak_assets.cli.processes import Child
from azak_assets.runtime import World

REPOSITORY_NAME = "__repository__"

ASSETS = """
{ assetNodes { assetKey { path } isExecutable isPartitioned opNames
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } }
"""
LAUNCH_JOB = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
LAUNCH_BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
RUN_STATUS = """
query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status stepStats { stepKey status }
    executionPlan { steps { key } } } } }
"""
BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill {
    status error { message } runs(limit: 1) { id } } } }
"""


def newest_sessions(world: World, count: int) -> list[date]:
    """The last ``count`` sessions with final bars, as far as the world has any."""
    newest = krx.newest_final_session(datetime.now(krx.KST)).day
    if world.last_day is not None:
        newest = min(newest, krx.session_on_or_before(world.last_day).day)
    days = [session.day for session in krx.sessions(krx.shift(newest, 1 - count).day, newest)] if count else []
    return [day for day in days if world.first_day is None or day >= world.first_day]


def load_missing(console: Console, url: str, world: World, wanted: list[date], children: list[Child]) -> None:
    """Have Dagster load the reference assets and what is missing of the wanted sessions: prices, with the sessions
    behind them that forecasts and scores look back on, in one backfill, and everything else in another.

    Raises:
        CannotStart: the load did not come to its end; the message says where to look.
    """
    if not wanted:
        return
    nodes = [node for node in ask(url, ASSETS)["assetNodes"] if node["isExecutable"]]
    partitioned = [node for node in nodes if node["isPartitioned"]]
    prices = [node for node in partitioned if tuple(node["assetKey"]["path"]) in PRICE_HISTORY]
    others = [node for node in partitioned if node not in prices]
    missing = [day for day in wanted if not all(_is_loaded(node, day) for node in partitioned)]
    if not missing:
        console.print(f"[green]✓[/] the last {len(wanted)} sessions are loaded")
        return
    price_days = [
        day for day in [*history_of(missing[0], world), *missing] if not all(_is_loaded(node, day) for node in prices)
    ]
    reference = [node["assetKey"] for node in nodes if not node["isPartitioned"]]
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        _follow(url, _launch_reference(url, reference), bar, "reference data", children)
        for what, some, days in (("prices", prices, price_days), ("everything else", others, missing)):
            if days:
                backfill_id = _launch_backfill(url, [node["assetKey"] for node in some], days)
                run_id = _run_of_backfill(url, backfill_id, children)
                _follow(url, run_id, bar, f"{what}, {len(days)} sessions {days[0]} … {days[-1]}", children)
    console.print("[green]✓[/] loaded: look at the assets in the UI")


def _is_loaded(node: dict[str, Any], day: date) -> bool:
    ranges = (node["assetPartitionStatuses"] or {}).get("ranges") or []
    key = day.isoformat()
    return any(one["status"] == "MATERIALIZED" and one["startKey"] <= key <= one["endKey"] for one in ranges)


def _tags() -> list[dict[str, str]]:
    from azak_assets.cli.dead_runs import FIRST_LOAD  # noqa: PLC0415 - loads Dagster, which by now is loaded

    return [{"key": key, "value": value} for key, value in FIRST_LOAD.items()]


def _launch_reference(url: str, assets: list[dict[str, Any]]) -> str:
    selector = {
        "repositoryName": REPOSITORY_NAME,
        "repositoryLocationName": CODE_LOCATION,
        "pipelineName": "__ASSET_JOB",
        "assetSelection": assets,
    }
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": _tags()}}
    answer = ask(url, LAUNCH_JOB, params=params)["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise CannotStart(f"Dagster did not start the reference run: {answer}")
    return str(answer["run"]["runId"])


def _launch_backfill(url: str, assets: list[dict[str, Any]], days: list[date]) -> str:
    params = {
        "assetSelection": assets,
        "partitionNames": [day.isoformat() for day in days],
        "tags": _tags(),
        "title": "first load",
        "description": "The newest sessions that were missing when `azak up` started.",
    }
    answer = ask(url, LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise CannotStart(f"Dagster did not start the backfill: {answer}")
    return str(answer["backfillId"])


def _run_of_backfill(url: str, backfill_id: str, children: list[Child]) -> str:
    """The run that the daemon makes of the backfill; it looks every few seconds.

    Raises:
        CannotStart: there will be none.
    """
    while not any(child.has_ended for child in children):
        backfill = ask_patiently(url, BACKFILL_STATUS, children, id=backfill_id)["partitionBackfillOrError"]
        if backfill["__typename"] != "PartitionBackfill":
            raise CannotStart(f"its backfill {backfill_id} is gone; `azak up` asks for what is missing anew.")
        if backfill["runs"]:
            return str(backfill["runs"][0]["id"])
        if backfill["error"]:
            raise CannotStart(f"the backfill failed: {backfill['error']['message']}")
        if backfill["status"] != "REQUESTED":
            raise CannotStart(
                f"the backfill {backfill_id} is {backfill['status'].lower()} and made no run; `azak up` asks for what "
                "is missing anew."
            )
        time.sleep(POLL_S)
    raise CannotStart("a process of Dagster ended while the backfill waited.")


def _follow(url: str, run_id: str, bar: Progress, what: str, children: list[Child]) -> None:
    """Show a run's steps until it succeeds.

    Raises:
        CannotStart: it did not.
    """
    task = bar.add_task(what, total=None)
    while not any(child.has_ended for child in children):
        run = ask_patiently(url, RUN_STATUS, children, id=run_id)["runOrError"]
        if run["__typename"] != "Run":
            raise CannotStart(f"its run {run_id} is gone; `azak up` asks for what is missing anew.")
        ended = [step for step in run["stepStats"] if step["status"] in ("SUCCESS", "FAILURE", "SKIPPED")]
        running = [step["stepKey"] for step in run["stepStats"] if step["status"] == "IN_PROGRESS"]
        total = len(run["executionPlan"]["steps"]) if run["executionPlan"] else None
        bar.update(task, completed=len(ended), total=total, description=f"{what}: {', '.join(running) or 'waiting'}")
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            bar.update(task, description=f"{what}: {run['status'].lower()}")
            if run["status"] == "SUCCESS":
                return
            ended_as = "failed" if run["status"] == "FAILURE" else "was canceled"
            raise CannotStart(f"{what} {ended_as}: {url}/runs/{run_id} shows the step, its cause and what to do.")
        time.sleep(POLL_S)
    raise CannotStart(f"a process of Dagster ended while it loaded {what}.")
