"""A plan of faults: what can stand in it, what is said of a bad one, and which answers meet it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from azak_assets.loopback import free_port
from azak_assets.sandbox import PlanError, SeededWorld, create_app, read_plan, start_in_thread
from azak_assets.sandbox.faults import Fault, Faults, inside

AZAK = str(Path(sys.executable).parent / "azak")


def plan(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "plan.yml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_plan_holds_counts_windows_services_and_fields(tmp_path: Path) -> None:
    faults = read_plan(
        plan(
            tmp_path,
            """
            - {path: /kis, tr_id: FHKST03010100, kind: 500, times: 3}
            - {path: /naver, status: 418, after: 60, for: 30}
            - {path: /opendart/api/list.json, field: corp_name, becomes: missing, times: 2}
            - {path: /mk, delay: 2.5}
            """,
        )
    )
    assert [fault.kind for fault in faults] == ["500", None, None, None]
    assert (faults[1].after, faults[1].lasts) == (60, 30)
    assert (faults[2].field, faults[2].becomes, faults[3].delay) == ("corp_name", "missing", 2.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- path: /kis", "fault 1: name what goes wrong by one of kind, status, delay and field; found: none"),
        ("- {path: /kis, kind: html, delay: 2}", "fault 1: name what goes wrong .* found: kind, delay"),
        ("- {path: kis, kind: html}", r"fault 1, path: String should match pattern '\^/' \(found 'kis'\)"),
        ("- {path: /a, kind: html}\n- {path: /b, kind: earthquake}", "fault 2, kind: .*found 'earthquake'"),
        ("- {path: /kis, kind: html, time: 3}", "fault 1, time: Extra inputs .*has the fields path, tr_id, kind"),
        ("- {path: /kis, kind: html, times: 0}", r"fault 1, times: .*greater than or equal to 1 \(found 0\)"),
        ("- {path: /kis, status: 99}", "fault 1, status: "),
        ("- {path: /kis, field: stck_clpr}", "fault 1: field and becomes belong together"),
        ("- {path: /naver, kind: error_in_200}", "only kis, opendart, .* announce errors in an HTTP 200"),
        ("path: /kis", 'holds no list of faults: begin each with "- path: /kis"'),
        ("- /kis", "fault 1: Input should be a valid dictionary"),
        ("- {path: [", "cannot be read as YAML"),
        ("", "holds no list of faults"),
    ],
)
def test_a_bad_plan_is_refused_with_its_place_and_what_to_write(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PlanError, match=told) as refused:
        read_plan(plan(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path / "plan.yml"))


def test_a_count_and_a_window_end_the_fault() -> None:
    now = [100.0]
    faults = Faults(
        [
            Fault(path="/a", kind="html"),
            Fault(path="/b", kind="html", times=2),
            Fault(path="/c", kind="html", **{"after": 10, "for": 5}),
            Fault(path="/d", kind="html", after=10, times=1),
            Fault(path="/e", kind="html", tr_id="FHKST01010100", times=9),
        ],
        tick=lambda: now[0],
    )

    def met(path: str, tr_id: str | None = None) -> bool:
        return faults.take(path, tr_id) is not None

    assert [met("/a/x"), met("/a/x")] == [True, False]
    assert [met("/b"), met("/b"), met("/b")] == [True, True, False]
    assert [met("/e"), met("/e", "FHKST01010200"), met("/e", "FHKST01010100")] == [False, False, True]
    told = []
    for second in (9.9, 10, 14.9, 15):
        now[0] = 100 + second
        told.append((met("/c"), met("/d")))
    assert told == [(False, False), (True, True), (True, False), (False, False)]


@pytest.mark.parametrize(
    ("becomes", "expected"),
    [("missing", {}), ("null", {"price": None}), ("words", {"price": "일이"}), ("7x", {"price": "7x"})],
)
def test_a_field_goes_wrong_in_every_record(becomes: str, expected: dict) -> None:
    from azak_assets.sandbox.faults import _with_wrong_field  # noqa: PLC0415

    body = json.dumps({"rows": [{"price": "12", "name": "a"}, {"price": 12}], "price_of": "12"}).encode()
    changed = json.loads(inside(body, lambda text: _with_wrong_field(text, "price", becomes)))
    assert changed == {"rows": [{**expected, "name": "a"}, expected], "price_of": "12"}
    xml = inside(b"<r><price>12</price><name>a</name></r>", lambda text: _with_wrong_field(text, "price", becomes))
    inner = {"missing": "", "null": "<price></price>"}.get(becomes, f"<price>{expected.get('price')}</price>")
    assert xml.decode() == f"<r>{inner}<name>a</name></r>"


def test_what_was_ordered_and_met_can_be_read() -> None:
    with start_in_thread(create_app(SeededWorld(1), plan=[Fault(path="/mk", status=418, times=2)])) as url:
        assert httpx.get(f"{url}/mk/rss/50200011/").status_code == 418
        httpx.post(f"{url}/sandbox/faults", json={"path": "/hankyung", "kind": "html", "times": 1}).raise_for_status()
        told = httpx.get(f"{url}/sandbox/faults").json()
    assert told == [
        {"path": "/mk", "status": 418, "times": 2, "met": 1, "is_open": True},
        {"path": "/hankyung", "kind": "html", "times": 1, "met": 0, "is_open": True},
    ]


def test_a_delayed_answer_is_the_true_one() -> None:
    with start_in_thread(create_app(SeededWorld(1), plan=[Fault(path="/mk", delay=0.4)])) as url:
        began = time.monotonic()
        late = httpx.get(f"{url}/mk/rss/50200011/")
        assert time.monotonic() - began >= 0.4
        assert late.content == httpx.get(f"{url}/mk/rss/50200011/").content


def test_the_command_plays_a_plan_and_refuses_a_bad_one(tmp_path: Path) -> None:
    port = free_port()
    file = plan(tmp_path, "- {path: /mk, kind: 403}\n- {path: /hankyung, delay: 0.2}\n")
    running = subprocess.Popen([AZAK, "sandbox", "--port", str(port), "--faults", str(file)])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                faults = httpx.get(f"http://127.0.0.1:{port}/sandbox/faults").json()
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        assert [fault["path"] for fault in faults] == ["/mk", "/hankyung"]
        answers = [httpx.get(f"http://127.0.0.1:{port}/mk/rss/50200011/").status_code for _ in range(2)]
        assert answers == [403, 200]
    finally:
        running.terminate()
        running.wait(timeout=30)
    file.write_text("- {path: /mk, kind: storm}\n")
    refused = subprocess.run(
        [AZAK, "sandbox", "--port", str(port), "--faults", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "plan.yml: fault 1, kind:" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
