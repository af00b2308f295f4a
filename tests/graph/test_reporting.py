"""What a materialization tells its operator."""

import base64
from datetime import UTC, datetime

import pandas as pd

from azak_assets.defs.reporting import line_plot, metadata_of
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import COUNTS, StepReport
from azak_assets.sources.records import Reject
from azak_assets.warehouse.scope import LoadResult

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RESULT = LoadResult(inserted=3, changed=2, unchanged=1, retired=4, observed_at=NOW)


def test_a_load_tells_counts_span_sample_and_rejects() -> None:
    frame = pd.DataFrame({"code": [f"{n:06d}" for n in range(12)], "day": pd.date_range("2026-11-02", periods=12)})
    reject = Reject(record="{}", field="stck_clpr", value="만원", reason="not a whole number")
    report = StepReport(rejects=[reject])
    report.add_load(RESULT, frame, instant="day")
    told = metadata_of(report)
    assert {name: told[name] for name in ("inserted", "changed", "unchanged", "retired", "rejected")} == {
        "inserted": 3,
        "changed": 2,
        "unchanged": 1,
        "retired": 4,
        "rejected": 1,
    }
    assert told["rows"] == 12
    assert (told["earliest"], told["latest"]) == ("2026-11-02 00:00:00", "2026-11-13 00:00:00")
    assert told["sample"].md_str.count("\n") == 11, "a head, a rule and ten rows"
    assert "만원" in told["rejects"].md_str
    assert "not a whole number" in told["rejects"].md_str


def test_an_empty_load_has_no_span_and_says_so() -> None:
    report = StepReport()
    report.add_load(RESULT, pd.DataFrame({"code": [], "day": []}), instant="day")
    told = metadata_of(report)
    assert told["earliest"] == told["latest"] == "none"
    assert told["sample"].md_str == "no rows"


def test_several_loads_and_notes_of_a_step_add_up() -> None:
    report = StepReport()
    for day in ("2026-11-02", "2026-11-03"):
        report.add_load(RESULT, pd.DataFrame({"day": [day], "title": [f"![x](/{day})"]}), instant="day")
        report.count("repaired", 2)
    shown = metadata_of(report)
    assert [shown[name] for name in ("rows", "inserted", "changed", "unchanged", "retired")] == [2, 6, 4, 2, 8]
    assert (shown["earliest"], shown["latest"], shown["repaired"]) == ("2026-11-02", "2026-11-03", 4)
    assert shown["sample"].md_str.count("`![x](/2026") == 2, "text from outside stays text"


def test_a_step_without_a_request_has_a_state_and_no_rows() -> None:
    shown = metadata_of(StepReport.without_rows(Reason.ASKED_RECENTLY, "asked today already"))
    assert (shown["reason"], shown["state"]) == ("asked_recently", "asked today already")
    assert (shown["rows"], shown["inserted"], shown["earliest"]) == (0, 0, "none")
    assert shown["sample"].md_str == "no rows"


def test_an_append_only_table_shows_all_rows_of_its_window_and_which_are_new() -> None:
    report = StepReport(refused=2, rejects=[Reject(record="{}", field="a", value="b", reason="c")])
    frame = pd.DataFrame({"model_id": ["m"] * 5, "cutoff_at": pd.date_range("2026-11-02", periods=5)})
    report.add_appended(3, frame, instant="cutoff_at")
    report.tables["by model"] = pd.DataFrame({"model_id": ["![x](/graphql)"], "forecasts": [5]})
    shown = metadata_of(report)
    assert {name: shown[name] for name in ("rows", *COUNTS)} == {
        "rows": 5,
        "inserted": 3,
        "changed": 0,
        "unchanged": 2,
        "retired": 0,
        "rejected": 3,
    }
    assert (shown["earliest"], shown["latest"]) == ("2026-11-02 00:00:00", "2026-11-06 00:00:00")
    assert "`![x](/graphql)`" in shown["by model"].md_str, "text from outside stays text"


def test_a_plot_is_a_picture_inside_the_page_and_its_title_starts_no_other() -> None:
    shown = line_plot({"990010": pd.Series([1.0, 2.0], index=["a", "b"])}, title="close ![x](/graphql)").md_str
    encoded = shown.split("base64,")[1].rstrip(")")
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    assert shown.startswith("![close x(/graphql)](data:image/png")
