"""Dagster's own web server behind the guard: attacks change nothing; its page, its queries and read-only mode work."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import httpx
import pytest

from azak_assets.cli.dagster_ui import dagster_apps
from azak_assets.cli.environment import CannotStart
from azak_assets.cli.ui import listen
from tests.cli.ui_servers import guarded, unguarded

RUN_EXISTS = "query($id: ID!) { runOrError(runId: $id) { __typename } }"
FORM = "application/x-www-form-urlencoded"
DELETE = 'mutation { deletePipelineRun(runId: "%s") { __typename } }'


def attacks(address: str, run_id: str) -> list[httpx.Request]:
    """What a page of another site can make a browser send: requests that need no preflight. Each deletes the run."""
    mutation = {"query": DELETE % run_id}
    where = f"{address}/graphql"
    return [
        httpx.Request("GET", where, params=mutation, headers={"Accept": "image/avif,*/*"}),
        httpx.Request("POST", where, params=mutation, content=b"a", headers={"Content-Type": "text/plain"}),
        httpx.Request("POST", where, params=mutation, content=b"a=b", headers={"Content-Type": FORM}),
        httpx.Request("POST", where, params=mutation),
        httpx.Request("POST", where, json=mutation, headers={"Content-Type": "text/plain; application/json"}),
        # What a browser would say of itself, and an address that the attacker's DNS server sends here.
        httpx.Request("POST", where, json=mutation, headers={"Origin": "http://evil.example"}),
        httpx.Request("POST", where, json=mutation, headers={"Origin": "null"}),
        httpx.Request("POST", where, json=mutation, headers={"Host": "evil.example"}),
    ]


@dataclass
class Uis:
    """Dagster's server over one instance: guarded, guarded and read-only, and in the open."""

    instance: dg.DagsterInstance
    client: httpx.Client
    whole: str
    read_only: str
    bare: str

    def new_run(self) -> str:
        return self.instance.create_run_for_job(nothing).run_id


@dg.job
def nothing() -> None:
    """A job without an op."""


@pytest.fixture(scope="module")
def uis() -> Iterator[Uis]:
    with (
        dg.instance_for_test() as instance,
        dagster_apps(instance, None, [False, True]) as (whole, read_only),
        guarded(whole, read_only) as ports,
        unguarded(whole) as bare,
        httpx.Client() as client,
    ):
        yield Uis(instance, client, *(f"http://127.0.0.1:{port}" for port in (*ports, bare)))


@pytest.mark.parametrize("number", range(8))
def test_an_attack_that_deletes_a_run_in_the_open_deletes_none_behind_the_guard(uis: Uis, number: int) -> None:
    run_id = uis.new_run()
    answer = uis.client.send(attacks(uis.whole, run_id)[number])
    assert answer.status_code in (403, 405, 415), answer.text
    assert uis.instance.get_run_by_id(run_id) is not None
    uis.client.send(attacks(uis.bare, run_id)[number])
    assert uis.instance.get_run_by_id(run_id) is None, "this was no attack"


def test_queries_and_mutations_of_the_ui_work(uis: Uis) -> None:
    run_id = uis.new_run()
    own = {"Origin": uis.whole, "Sec-Fetch-Site": "same-origin"}
    asked = {"query": RUN_EXISTS, "variables": {"id": run_id}}
    found = uis.client.post(f"{uis.whole}/graphql", json=asked, headers=own)
    assert found.json() == {"data": {"runOrError": {"__typename": "Run"}}}
    deleted = uis.client.post(f"{uis.whole}/graphql", json={"query": DELETE % run_id}, headers=own)
    assert deleted.json() == {"data": {"deletePipelineRun": {"__typename": "DeletePipelineRunSuccess"}}}
    assert uis.instance.get_run_by_id(run_id) is None


def test_the_page_loads_with_its_own_policy_and_ours(uis: Uis) -> None:
    page = uis.client.get(f"{uis.whole}/assets", headers={"Accept": "text/html"})
    assert page.status_code == 200
    dagsters, ours = page.headers.get_list("content-security-policy")
    assert "'strict-dynamic'" in dagsters
    assert "frame-ancestors 'none'" in ours
    (script, *_) = [part.split('"')[0] for part in page.text.split('src="')[1:]]
    assert uis.client.get(f"{uis.whole}{script}").status_code == 200
    assert uis.client.get(f"{uis.whole}/server_info").json()["dagster_version"] == dg.__version__
    assert "GraphiQL" in uis.client.get(f"{uis.whole}/graphql", headers={"Accept": "text/html"}).text


def test_read_only_shows_the_same_and_changes_nothing(uis: Uis) -> None:
    run_id = uis.new_run()
    found = uis.client.post(f"{uis.read_only}/graphql", json={"query": RUN_EXISTS, "variables": {"id": run_id}})
    assert found.json() == {"data": {"runOrError": {"__typename": "Run"}}}
    refused = uis.client.post(f"{uis.read_only}/graphql", json={"query": DELETE % run_id})
    assert refused.json() == {"data": {"deletePipelineRun": {"__typename": "UnauthorizedError"}}}
    reported = uis.client.post(f"{uis.read_only}/report_asset_materialization/a", json={})
    assert reported.status_code == 401
    assert uis.instance.get_run_by_id(run_id) is not None
    for attack in attacks(uis.read_only, run_id):
        assert uis.client.send(attack).status_code in (403, 405, 415)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(CannotStart, match="choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])
