"""Markdown for the UI in which text from outside stays text: no image, link or markup of a stranger is rendered.

Belongs here: tables, lists and sentences of metadata, check results and descriptions. Does not belong here: what is
shown; that is `reporting` and the assets. Dagster renders Markdown in metadata and in descriptions, so a headline
`![x](/graphql?query=…)` would make the operator's browser send a request as soon as the page opens.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

TABLE_ROWS = 10
CELL_CHARACTERS = 120
PLAIN = re.compile(r"(?!.*www\.)-?[^\W_]+(?:(?:[ .,%()+:-]+|_)[^\W_]+)*[.%)]*", re.IGNORECASE)
"""Words and numbers between spaces and a few marks mean nothing in Markdown; all other text becomes a code span."""
LINE_BREAKS_AND_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def literal(value: object) -> str:
    """``value`` as Markdown that shows exactly its text, on one line; a pipe, which ends a table cell, becomes ¦.

    Words stay as they are. Anything else becomes a code span, the one construct in which CommonMark and GitHub's
    extensions (autolinks too) leave text alone; its fence is longer than any run of backticks inside.
    """
    shown = LINE_BREAKS_AND_CONTROLS.sub(" ", str(value)).replace("|", "¦").strip()
    if not shown or PLAIN.fullmatch(shown):
        return shown
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def bullets(lines: Iterable[str]) -> dg.MarkdownMetadataValue:
    """A list of lines, each shown as text; without lines it says none."""
    return dg.MetadataValue.md("\n".join(f"* {literal(line)}" for line in lines) or "none")


def table(frame: "pd.DataFrame", rows: int = TABLE_ROWS) -> dg.MarkdownMetadataValue:
    """The first rows of ``frame`` as a table of texts, each cut to 120 characters; an empty frame says so."""
    if frame.empty:
        return dg.MetadataValue.md("no rows")
    head = frame.head(rows).astype(object)
    head = head.where(head.notna(), None)
    lines = [_row(map(str, head.columns)), "|" + " --- |" * len(head.columns)]
    lines += [_row("" if value is None else str(value) for value in row) for row in head.itertuples(index=False)]
    return dg.MetadataValue.md("\n".join(lines))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(literal(cell[:CELL_CHARACTERS]) for cell in cells) + " |"
