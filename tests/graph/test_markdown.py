"""Text from outside stays text on the pages of the UI (fault S2)."""

import pandas as pd
import pytest

from azak_assets.defs.markdown import bullets, literal, table
from azak_assets.defs.reporting import metadata_of
from azak_assets.ingest.report import StepReport
from azak_assets.sources.records import Reject
from tests.graph.test_reporting import RESULT

HOSTILE = [
    "![x](http://127.0.0.1:9/a.png)",
    "![x](/graphql?query=mutation{launchRun(executionParams:{})})",
    "[press](javascript:alert(1))",
    "<img src=/graphql?query=mutation{x}>",
    "<script>alert(1)</script>",
    "&lt;img src=x&gt;",
    "http://127.0.0.1:3000/graphql",
    "WWW.example.com",
    "a@example.com",
    "` ![x](/a) `",
    "``` ![x](/a)",
    "**loud** _soft_ ~~gone~~",
    "# a headline",
    "[ref]: /graphql",
    "![x][ref]",
    "line one\n\n![x](/a)\r\n* item",
    "line one\u2028![x](/a)",
]
"""Every construct of CommonMark, of GitHub's extensions and of HTML that makes a browser do more than show words."""


def _outside_code(markdown: str) -> str:
    """What of one line a Markdown reader interprets: everything but code spans (CommonMark 6.1)."""
    kept, rest = [], markdown
    while rest:
        if not rest.startswith("`"):
            cut = rest.find("`")
            kept.append(rest if cut < 0 else rest[:cut])
            rest = "" if cut < 0 else rest[cut:]
            continue
        fence = rest[: len(rest) - len(rest.lstrip("`"))]
        inside = rest[len(fence) :]
        end = next(
            (
                at
                for at in range(len(inside))
                if inside.startswith(fence, at)
                and not inside.startswith("`", at + len(fence))
                and (at == 0 or inside[at - 1] != "`")
            ),
            None,
        )
        if end is None:
            kept.append(fence)
            rest = inside
        else:
            rest = inside[end + len(fence) :]
    return "".join(kept)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_interpreted(text: str) -> None:
    shown = literal(text)
    assert _outside_code(shown) == ""
    assert "\n" not in shown
    assert "\u2028" not in shown


@pytest.mark.parametrize(
    "text", ["삼성전자, 3분기 영업이익 12.5% 증가", "2026-11-02 09:00:00+09:00", "-1.5", "stock_code", ""]
)
def test_plain_words_and_numbers_stay_as_they_are(text: str) -> None:
    assert literal(text) == text


def test_a_stranger_s_text_is_literal_wherever_a_load_shows_it() -> None:
    frame = pd.DataFrame({"title": HOSTILE, "day": pd.Timestamp("2026-11-02")})
    rejects = [Reject(record="{}", field="pubDate", value=text, reason=f"not a date: {text}") for text in HOSTILE]
    report = StepReport(rejects=rejects)
    report.add_load(RESULT, frame, instant="day")
    metadata = metadata_of(report)
    shown = [metadata["sample"], metadata["rejects"], bullets(HOSTILE), table(frame, rows=len(frame))]
    for markdown in shown:
        for line in markdown.md_str.splitlines():
            assert not set("![<&@") & set(_outside_code(line)), line
            assert "http" not in _outside_code(line).lower()


def test_a_table_survives_pipes_newlines_and_missing_values() -> None:
    shown = table(pd.DataFrame({"title": ["가|나\n다", None]})).md_str
    assert "가¦나 다" in shown
    assert shown.splitlines()[-1] == "|  |"
    missing = pd.DataFrame(
        {"b": pd.array([None], "boolean"), "i": pd.array([None], "Int64"), "t": [pd.NaT], "l": [["x"]]}
    )
    assert table(missing).md_str.splitlines()[-1] == "|  |  |  | `['x']` |"
