"""The raw answers of the upstreams as files: written while a run asks, read by playback, removed by age.

Belongs here: the files. Does not belong here: what is recorded and what is too secret to be (`sources.recording`),
which recording answers a question (`playback`), parsing.

    AZAK_HOME/payloads/<world>/<KST day>/<first two digits>/<sha256 of the body>.gz     a body, once a day
    AZAK_HOME/payloads/<world>/<KST day>/<run>-<process>.jsonl                          who asked what, when, in order

Files, not PostgreSQL: a live day is about 250 MB in 130,000 files (reckoned from the sandbox's answers a call and the
calls of a day; minutes are half of it, searches a third; on a disk with blocks of 4 KB it takes 690 MB), which would
outgrow all tables within weeks and travel with every dump; a re-run into an empty database, or on another machine,
needs them beside the database, and a copy of the folder is enough; a day is removed by removing its folder. A body is
written under another name and moved into place, and read back only if it has the hash that is its name, so a killed
process, a full disk or a power cut leaves nothing that reads as good. A line of the index is one write; one that was
cut short is passed over.

A disk that is full, or a folder that cannot be written, ends the keeping for this process with one warning: an answer
that was not kept is still loaded.
"""

from __future__ import annotations

import bisect
import gzip
import hashlib
import json
import logging
import re
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any

from azak_assets import krx
from azak_assets.ports import RecordedAnswer, RecordedRequest

logger = logging.getLogger(__name__)

LEVEL = 6
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""A question, as a key: upstream, path, headers."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A line of the index: where the body of an answer lies, and when it came."""

    at: datetime
    status: int
    headers: Mapping[str, str]
    body: Path


@dataclass(slots=True)
class KeptRun:
    """A run and the answers it received. `about` describes it well enough to run it again."""

    run_id: str
    began_at: datetime
    about: dict[str, Any]
    answers: dict[Key, Kept] = field(default_factory=dict)
    """The newest answer to each question."""
    in_turn: dict[Key, list[Kept]] = field(default_factory=dict)
    """All answers to each question, whatever the clock said in it, in the order in which they came."""


def folder_of(home: Path, world: str) -> Path:
    """Where the payloads of a world lie: worlds never mix, here neither."""
    return home / "payloads" / world.replace(":", "-")


def worlds(home: Path) -> list[str]:
    """The worlds that have payloads."""
    root = home / "payloads"
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    return [name.replace("-", ":", 1) for name in names]


class PayloadWriter:
    """Records the answers of one run in one process, safe to share between threads; a `ports.Recorder`.

    Args:
        folder: of the world (`folder_of`).
        run_id: the run that asks.
        about: what a re-run has to know of it, JSON-able: stands in the first line of each of its index files.
        keep_days: today and so many days before it less one are kept; 0 keeps none, and removes what there is.
        now: aware; its KST date names the day.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_id: str,
        about: Mapping[str, Any],
        keep_days: int,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
    ) -> None:
        self._folder = folder
        self._run_id = run_id
        self._about = about
        self._keep_days = keep_days
        self._now = now
        self._began_at = now()
        self._name = f"{run_id or 'no-run'}-{uuid.uuid4().hex[:8]}.jsonl"
        self._indexes: dict[date, FileIO] = {}
        self._lock = Lock()
        self._has_given_up = keep_days == 0

    def keep(self, question: RecordedRequest, answer: RecordedAnswer) -> None:
        """Record one answer; the body first, so that a line of the index never points at nothing."""
        if self._has_given_up:
            return
        try:
            now = self._now().astimezone(krx.KST)
            digest = hashlib.sha256(answer.body).hexdigest()
            self._keep_body(answer.body, _body_path(self._folder / now.date().isoformat(), digest))
            line = {
                "at": now.isoformat(),
                "upstream": question.upstream,
                "path": question.path,
                "asked_with": dict(question.headers),
                **({"timeless": question.timeless} if question.timeless else {}),
                "status": answer.status,
                "headers": dict(answer.headers),
                "sha256": digest,
                "bytes": len(answer.body),
            }
            self._write_line(now.date(), line)
        except OSError as error:
            self._has_given_up = True
            logger.warning(
                "Answers are no longer kept by this process (%s: %s): loading goes on. Free some space under %s, or set"
                " AZAK_PAYLOAD_DAYS to fewer days.",
                type(error).__name__,
                error,
                self._folder,
            )

    def close(self) -> None:
        """Close the index files, and remove the days that are too old."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()
        remove_old(self._folder, self._keep_days, self._now().astimezone(krx.KST).date())

    @staticmethod
    def _keep_body(body: bytes, path: Path) -> None:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same body may be written by several at once: each moves a whole file of its own into place.
        half = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            half.write_bytes(gzip.compress(body, LEVEL, mtime=0))
            half.replace(path)
        except OSError:
            half.unlink(missing_ok=True)
            raise

    def _write_line(self, day: date, line: Mapping[str, Any]) -> None:
        with self._lock:
            index = self._indexes.get(day)
            if index is None:
                # Unbuffered: a line is one write, and whole in the kernel before the answer is read.
                index = FileIO(self._folder / day.isoformat() / self._name, "a")
                self._indexes[day] = index
                about = {"run_id": self._run_id, "began_at": self._began_at.isoformat(), "about": self._about}
                _write(index, about)
            _write(index, line)


def _write(index: FileIO, line: Mapping[str, Any]) -> None:
    written = memoryview(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    while written:
        written = written[index.write(written) :]


def _body_path(day: Path, digest: str) -> Path:
    return day / digest[:2] / f"{digest}.gz"


def days(folder: Path) -> list[date]:
    """The days that have payloads, oldest first."""
    if not folder.is_dir():
        return []
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() and _DAY.fullmatch(entry.name)]
    return sorted(date.fromisoformat(name) for name in names)


def remove_old(folder: Path, keep_days: int, today: date) -> None:
    """Remove the days before the newest `keep_days`; several processes may do so at once."""
    for day in days(folder):
        if day <= today - timedelta(days=keep_days):
            shutil.rmtree(folder / day.isoformat(), ignore_errors=True)


def runs(folder: Path, first: date, last: date) -> list[KeptRun]:
    """The runs that were answered on the KST days from `first` to `last`, in the order in which they began.

    Bodies are not read here. A line that was cut short is passed over: its answer counts as not recorded.
    """
    found: dict[str, KeptRun] = {}
    for day in days(folder):
        if first <= day <= last:
            for index in sorted((folder / day.isoformat()).glob("*.jsonl")):
                _read_index(index, found)
    return sorted(found.values(), key=lambda run: (run.began_at, run.run_id))


def _read_index(index: Path, found: dict[str, KeptRun]) -> None:
    lines = _lines(index)
    head = next(lines, None)
    if head is None or "run_id" not in head:
        return
    began_at = datetime.fromisoformat(head["began_at"])
    run = found.setdefault(head["run_id"], KeptRun(head["run_id"], began_at, head["about"]))
    for line in lines:
        key = (line["upstream"], line["path"], tuple(sorted(line["asked_with"].items())))
        timeless = (key[0], line.get("timeless", key[1]), key[2])
        kept = Kept(
            datetime.fromisoformat(line["at"]),
            line["status"],
            line["headers"],
            _body_path(index.parent, line["sha256"]),
        )
        if key not in run.answers or run.answers[key].at <= kept.at:
            run.answers[key] = kept
        bisect.insort(run.in_turn.setdefault(timeless, []), kept, key=lambda one: one.at)


def _lines(index: Path) -> Iterator[dict[str, Any]]:
    with index.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                parsed = json.loads(line)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                yield parsed


def read_body(kept: Kept) -> bytes | None:
    """The body of an answer; None where the file is gone, or is not what its name says."""
    try:
        body = gzip.decompress(kept.body.read_bytes())
    except (OSError, EOFError, zlib.error):  # gzip.BadGzipFile is an OSError
        return None
    return body if hashlib.sha256(body).hexdigest() == kept.body.name.removesuffix(".gz") else None
