"""A page of another site, open in a real Chromium, sends what it can to Dagster's UI: nothing is changed there.

What each attack sends is executed by the same server without the guard, so that the test would notice an attack that
a newer browser does not send any more. Skipped where no Chromium is installed; `test_ui` sends the same by HTTP.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from azak_assets.cli.dagster_ui import dagster_apps
from tests.cli.ui_servers import guarded, unguarded

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on the PATH: `apt-get install chromium` brings one"
)

HOSTS = ("127.0.0.1", "localhost")
"""The page is at 127.0.0.1: to a browser another port of it is the same site, and localhost is another one."""
ATTACKS = ("image", "form", "fetch", "fetch as text that is JSON", "beacon")
DELETE = 'mutation { deletePipelineRun(runId: "%s") { __typename } }'
PAGE = """<!doctype html><body><script>
const text = "text/plain", asJson = "text/plain; application/json";
const attacks = {
  "image": (url, mutation) => new Promise(done => {
    const image = new Image(); image.onload = image.onerror = done; image.src = `${url}?query=${mutation}`; }),
  "form": (url, mutation) => new Promise(done => {
    const frame = document.createElement("iframe"); frame.name = url + mutation;
    const form = document.createElement("form"); form.method = "post"; form.enctype = text;
    form.action = `${url}?query=${mutation}`; form.target = frame.name;
    document.body.append(frame, form); frame.onload = done; form.submit(); }),
  "fetch": (url, mutation) => fetch(`${url}?query=${mutation}`, {method: "POST", mode: "no-cors", body: "a"}),
  "fetch as text that is JSON": (url, mutation) => fetch(url, {method: "POST", mode: "no-cors",
    headers: {"Content-Type": asJson}, body: JSON.stringify({query: decodeURIComponent(mutation)})}),
  "beacon": async (url, mutation) => { navigator.sendBeacon(`${url}?query=${mutation}`, "a"); await wait(500); },
};
const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
(async () => {
  await Promise.all(TARGETS.map(([kind, url, mutation]) =>
    Promise.race([attacks[kind](url, encodeURIComponent(mutation)).catch(() => 0), wait(20000)])));
  await fetch("/done");
})();
</script></body>"""


@dg.job
def nothing() -> None:
    """A job without an op."""


@contextmanager
def attack_page(targets: list[tuple[str, str, str]]) -> Iterator[tuple[str, threading.Event]]:
    """The address of a page that attacks these targets (kind, address, mutation), and whether it has done so."""
    done = threading.Event()
    page = PAGE.replace("TARGETS", json.dumps(targets)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page)
            if self.path == "/done":
                done.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", done
        server.shutdown()


@contextmanager
def chromium(folder: Path, address: str, *options: str) -> Iterator[Path]:
    """A headless Chromium that has this page open, and the file with what its console says."""
    assert BROWSER is not None
    said = folder / "browser.txt"
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--enable-logging=stderr"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium's own sandbox refuses root
    with said.open("w") as output:
        browser = subprocess.Popen(
            [BROWSER, *flags, *options, f"--user-data-dir={folder / 'profile'}", address],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield said
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


@pytest.fixture(scope="module")
def dagster() -> Iterator[tuple[dg.DagsterInstance, int, int]]:
    """An instance, and the ports of its UI behind the guard and in the open."""
    with (
        dg.instance_for_test() as instance,
        dagster_apps(instance, None, [False]) as (app,),
        guarded(app) as (guarded_port,),
        unguarded(app) as bare_port,
    ):
        yield instance, guarded_port, bare_port


def test_pages_of_other_sites_change_nothing(dagster: tuple[dg.DagsterInstance, int, int], tmp_path: Path) -> None:
    instance, guarded_port, bare_port = dagster
    runs = {
        (port, host, attack): instance.create_run_for_job(nothing).run_id
        for port in (guarded_port, bare_port)
        for host in HOSTS
        for attack in ATTACKS
    }
    targets = [(attack, f"http://{host}:{port}/graphql", DELETE % run) for (port, host, attack), run in runs.items()]
    with attack_page(targets) as (address, done), chromium(tmp_path, address) as said:
        assert done.wait(PATIENCE_S), said.read_text()
    gone = {key for key, run in runs.items() if instance.get_run_by_id(run) is None}
    assert {key for key in gone if key[0] == guarded_port} == set()
    assert gone == {(bare_port, host, attack) for host in HOSTS for attack in ATTACKS}, "some attack is none any more"


def test_the_ui_is_drawn_and_no_policy_stops_any_of_it(
    dagster: tuple[dg.DagsterInstance, int, int], tmp_path: Path
) -> None:
    _, port, _ = dagster
    with chromium(tmp_path, f"http://localhost:{port}/runs", "--dump-dom", "--virtual-time-budget=20000") as said:
        deadline = time.monotonic() + PATIENCE_S
        while "</html>" not in said.read_text():
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        text = said.read_text()
    assert ">Deployment<" in text, "the navigation is drawn by the scripts"
    assert "Content Security Policy" not in text
