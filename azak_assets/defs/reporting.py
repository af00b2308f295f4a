"""What a materialization tells its operator: rows, changes, rejects, time span, a small table and a plot.

Belongs here: turning results into Dagster metadata. Does not belong here: computing them.
"""

import base64
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from azak_assets.defs.markdown import TABLE_ROWS, bullets, table
from azak_assets.ingest.report import COUNTS
from azak_assets.sources.records import Reject

if TYPE_CHECKING:
    import pandas as pd

    from azak_assets.ingest.report import StepReport
    from azak_assets.runtime import Upstreams

NO_SPAN = {"earliest": "none", "latest": "none"}
FURTHER_TABLE_ROWS = 60
FAILURES_SHOWN = 10
NOT_IN_ALT_TEXT = re.compile(r"[\[\]\\`<>!&\n]")
"""Characters with which the title of a plot could end its image or begin another."""


def metadata_of(report: "StepReport") -> dict[str, Any]:
    """The metadata of a materialization: the same names for every table."""
    # Imported here, as matplotlib below: the code location loads without pandas.
    import pandas as pd  # noqa: PLC0415

    metadata: dict[str, Any] = {
        "rows": report.rows,
        **{name: getattr(report, name) for name in COUNTS},
        **(NO_SPAN if report.earliest is None else {"earliest": str(report.earliest), "latest": str(report.latest)}),
        "sample": table(pd.concat(report.samples, ignore_index=True) if report.samples else pd.DataFrame()),
        **{
            name: dg.MetadataValue.json(note) if isinstance(note, dict) else note for name, note in report.notes.items()
        },
        **{name: bullets(lines) for name, lines in report.lists.items()},
        **{name: table(frame, FURTHER_TABLE_ROWS) for name, frame in report.tables.items()},
        **{name: line_plot(plot.lines, title=plot.title) for name, plot in report.plots.items()},
    }
    if report.answered is not None:
        metadata |= {"answered": report.answered, "failed": len(report.failures)}
    if report.state:
        metadata |= {"state": report.state, "reason": ", ".join(report.reasons)}
    if report.rejects:
        metadata["rejects"] = rejects_table(report.rejects)
    if report.failures:
        lines = [f"{key}: {failure}" for key, failure in sorted(report.failures.items())]
        metadata["failed"] = len(lines)
        metadata["failures"] = bullets(lines[:FAILURES_SHOWN])
    return metadata


def usage(upstreams: "Upstreams") -> dict[str, Any]:
    """What the run asked so far of each upstream, and how much of its day is used up by everybody."""
    lines = [
        f"{name}: {calls} calls of this run so far, {today} today"
        + (f" of {allowed} ({today / allowed:.0%})" if allowed else "")
        for name, (calls, today, allowed) in sorted(upstreams.usage().items())
    ]
    return {"calls": bullets(lines)} if lines else {}


def rejects_table(rejects: list[Reject]) -> dg.MarkdownMetadataValue:
    """The first rejects with field, value and reason."""
    # Imported here, as matplotlib below: the code location loads without pandas.
    import pandas as pd  # noqa: PLC0415

    shown = [{"field": one.field, "value": one.value, "reason": one.reason} for one in rejects[:TABLE_ROWS]]
    return table(pd.DataFrame(shown))


def line_plot(series: Mapping[str, "pd.Series"], *, title: str) -> dg.MarkdownMetadataValue:
    """A small line plot, one line a name, x from the series' index; shown inside the UI as an image."""
    # Imported here: a plot is drawn while a step runs, never while the code location loads.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6, 2.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    for name, values in series.items():
        axes.plot(values.index, values.to_numpy(), label=name, linewidth=1.2, marker="." if len(values) < 40 else None)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    figure.autofmt_xdate()
    alt = NOT_IN_ALT_TEXT.sub("", title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")
