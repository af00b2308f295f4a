"""Asking one upstream the same question about many keys at once.

Put here only the fan-out: waiting dominates, so a few threads over one client reach the upstream's rate limit. What is
asked and what comes back belongs to the clients.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Batch
from azak_assets.sources.streak import FailureStreak

K = TypeVar("K")
T = TypeVar("T")


def collect(
    ask: Callable[[K], Batch[T]],
    keys: Sequence[K],
    workers: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[K, Batch[T] | SourceFailure]]:
    """Yield (key, its batch or its failure) for every key, as the answers come in, not in the order of `keys`.

    `on_progress(done, total)` is called in the consumer's thread before each yield. A failure of one key is yielded
    and the others go on, with two exceptions, which are raised after the calls not yet started were cancelled: one
    whose action is `stop` (wrong keys, used-up quota: no other key would fare better), and `2 * workers` failures in a
    row (`FailureStreak`: the upstream is down, and every key would wait out its retries).
    """
    executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="collect")
    waiting = iter(keys)
    running: dict[Future[Batch[T]], K] = {}
    done, streak = 0, FailureStreak(limit=2 * workers)
    try:
        while True:
            # A few keys ahead keep every worker busy; all at once would run on past a failure that ends the round.
            for key in islice(waiting, 4 * workers - len(running)):
                running[executor.submit(ask, key)] = key
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                result = _result(future)
                failure = result if isinstance(result, SourceFailure) else None
                streak.add(failure)
                if failure is not None and (failure.action == "stop" or streak.is_at_limit):
                    raise failure
                done += 1
                if on_progress is not None:
                    on_progress(done, len(keys))
                yield key, result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[Batch[T]]) -> Batch[T] | SourceFailure:
    try:
        return future.result()
    except SourceFailure as failure:
        return failure
