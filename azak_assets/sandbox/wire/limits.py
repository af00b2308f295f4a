"""How often each upstream lets itself be asked: calls of the last second and of a KST day, a key at a time.

The figures and how they are counted belong here; what a refusal looks like on the wire belongs to the upstream's
module. Sources: the broker's notice of 2026-04-20 (18 a second), Naver's terms of its search API (25,000 a day; 10 a
second as users report), DART's guide (20,000 a day), the exchange's terms of use (10,000 a day), Reddit's API rules
(100 a minute, counted over ten), Telegram's FAQ (20 a minute to a group, one a second to a chat, bursts excepted).
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from azak_assets import krx


@dataclass(frozen=True, slots=True)
class Limits:
    """The most calls a key may make."""

    kis_a_second: int = 18
    naver_a_second: int = 10
    naver_a_day: int = 25_000
    opendart_a_day: int = 20_000
    reddit_in_ten_minutes: int = 1000
    telegram_group_a_minute: int = 20
    telegram_chat_in_three_seconds: int = 3
    krx_a_day: int = 10_000


class PerSecond:
    """Counts the calls of the second that ends now. `tick` gives seconds that only go forward."""

    def __init__(self, most: int, tick: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._tick = tick
        self._lock = threading.Lock()
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    def admits(self, key: str) -> bool:
        """Whether one more call of the key fits; a refused one does not count."""
        with self._lock:
            now, calls = self._tick(), self._calls[key]
            while calls and now - calls[0] >= 1.0:
                calls.popleft()
            if len(calls) >= self._most:
                return False
            calls.append(now)
            return True


class PerPeriod:
    """Counts the calls of a period that begins with a key's first call. `tick` as for `PerSecond`."""

    def __init__(self, most: int, seconds: float, tick: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._tick = tick
        self._lock = threading.Lock()
        self._periods: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> tuple[int, int, float]:
        """Count a call of the key: how many there were, how many are left (below 0: too many), seconds to the end."""
        with self._lock:
            now = self._tick()
            start, used = self._periods.get(key, (now, 0))
            if now - start >= self._seconds:
                start, used = now, 0
            used = min(used + 1, self._most + 1)
            self._periods[key] = start, used
            return used, self._most - used, start + self._seconds - now


class PerDay:
    """Counts the calls of the KST day."""

    def __init__(self, most: int, clock: Callable[[], datetime]) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[date, int]] = {}

    def admits(self, key: str) -> bool:
        """Whether one more call of the key fits; a refused one does not count."""
        today = self._clock().astimezone(krx.KST).date()
        with self._lock:
            day, count = self._calls.get(key, (today, 0))
            count = count if day == today else 0
            if count >= self._most:
                return False
            self._calls[key] = today, count + 1
            return True
