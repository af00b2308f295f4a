"""What a materialization tells its operator."""

import base64
from datetime import UTC, datetime

import pandas as pd

from azak_assets.defs.reporting import line_plot, loaded, total
from azak_assets.sources.records import Reject
from azak_assets.warehouse.scope import LoadResult

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RESULT = LoadResult(inserted=3, changed=2, unchanged=1, retired=4, observed_at=NOW)


def test_a_load_tells_counts_span_sample_and_rejects() -> None:
    frame = pd.DataFrame({"code": [f"{n:06d}" for n in range(12)], "day": pd.date_range("2026-11-02", periods=12)})
    reject = Reject(record="{}", field="stck_clpr", value="만원", reason="not a whole number")
    told = loaded(RESULT, frame, instant="day", rejects=[reject])
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
    told = loaded(RESULT, pd.DataFrame({"code": [], "day": []}), instant="day")
    assert told["earliest"] == told["latest"] == "none"
    assert told["sample"].md_str == "no rows"


def test_several_loads_add_up() -> None:
    assert total([RESULT, RESULT]) == LoadResult(6, 4, 2, 8, NOW)


def test_a_plot_is_a_picture_inside_the_page() -> None:
    shown = line_plot({"990010": pd.Series([1.0, 2.0], index=["a", "b"])}, title="close").md_str
    encoded = shown.split("base64,")[1].rstrip(")")
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
