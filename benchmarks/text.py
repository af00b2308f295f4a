"""What reading, embedding and searching headlines costs, each against its raw limit in the same run.

Belongs here: made-up headlines and vectors, three ratios. Mentions against the bare automaton over the same names; an
as-of search of a hundredth of the index against the whole; the local embedder in texts a second. One bar.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import typer
from ahocorasick_rs import AhoCorasick, MatchKind

from azak_assets.text.embedders import LocalEmbedder
from azak_assets.text.mentions import MentionFinder
from azak_assets.text.vector_index import VectorIndex
from benchmarks.bars import Row, finish

REPEATS = 3
MENTIONS_BAR = 50_000
"""A second; 280,000 measured on one core: the room is for a busy machine, a rule that backtracks misses it."""
NAMES = 2800  # as many as are listed
SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후"
SENTENCES = (
    "{0}, 3분기 영업이익 전년 대비 12% 증가", "[단독] {0}·{1}, 차세대 배터리 공동 개발", "외국인 순매수에 {0} 신고가",
    "수도권 아파트 거래량 두 달 연속 줄어", "{0} 노사, 임금 협상 잠정 합의", "원/달러 환율 장중 1400원 넘어서",
)  # fmt: skip


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(
    headlines: int = typer.Option(50_000, help="Headlines to read."),
    vectors: int = typer.Option(50_000, help="Vectors to search among."),
) -> None:
    """Print and keep the rates and ratios."""
    generator = np.random.default_rng(1)
    syllables = np.array(list(SYLLABLES))
    names = sorted({"".join(generator.choice(syllables, int(generator.integers(3, 7)))) for _ in range(NAMES)})
    picks = generator.integers(0, len(names), (headlines, 2))
    titles = [SENTENCES[i % len(SENTENCES)].format(names[one], names[two]) for i, (one, two) in enumerate(picks)]

    codes = [f"{number:06}" for number in range(len(names))]
    finder = MentionFinder(pd.DataFrame({"stock_code": codes, "name": names, "aliases": [[]] * len(names)}))
    automaton = AhoCorasick(names, matchkind=MatchKind.LeftmostLongest)
    bare = _best(lambda: [automaton.find_matches_as_indexes(title) for title in titles])
    ruled = _best(lambda: [finder.find(title) for title in titles])
    embedded = _best(lambda: LocalEmbedder().embed(titles))

    rows = generator.standard_normal((vectors, 768), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    known_at = [first + timedelta(seconds=second) for second in range(vectors)]
    index = VectorIndex.build("benchmark", range(vectors), known_at, rows)
    whole = _best(lambda: index.search(rows[:20], 10, known_at[-1])) / 20
    hundredth = _best(lambda: index.search(rows[:20], 10, known_at[vectors // 100])) / 20

    finish(
        "text",
        [
            Row("mentions, headlines a second", headlines / ruled, "/s", MENTIONS_BAR, at_least=True),
            Row("mentions, against the bare automaton", ruled / bare),
            Row("local embedder, texts a second", headlines / embedded, "/s"),
            Row(f"search of {vectors:,} vectors", whole * 1e3, "ms"),
            Row("search as of a hundredth of them, against the whole", hundredth / whole),
        ],
    )


if __name__ == "__main__":
    typer.run(main)
