"""The ledger of chat calls, `ml.llm_calls`: what was asked, what came back, what it cost; and an answer is asked once.

Belongs here: finding a stored answer by the hash of its request, recording every attempt, and what a day has cost. Does
not belong here: calling (`llm`). A request's hash covers all that decides the answer and nothing else, so a run that is
repeated or resumed finds its answers here and pays for none of them twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets.warehouse import readers
from azak_assets.warehouse.encode import storable

if TYPE_CHECKING:
    from azak_assets.warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a request. Tokens and USD as the provider counted them; None where it did not say."""

    is_ok: bool
    response: Mapping[str, Any] | None = None
    error: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    latency_ms: int | None = None


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(text: str) -> str:
    """The hex sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def request_hash(provider: str, request: Mapping[str, Any]) -> str:
    """The address of a request in the ledger: provider, model, messages and parameters, never keys or addresses."""
    return sha256(canonical_json({"provider": provider, "request": request}))


class Ledger:
    """Reads and writes `ml.llm_calls`. Safe to share between threads: every method is one statement or transaction."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def attempts(self, address: str) -> tuple[int, Call | None]:
        """How many attempts at this request are recorded, and the answer among them if there is one."""
        rows = self._warehouse.read("ml.llm_calls", where={"request_hash": address}, order_by=["attempt"])
        answers = rows[rows["status"] == "ok"]
        if answers.empty:
            return len(rows), None
        row = answers.iloc[0]
        return len(rows), Call(
            is_ok=True,
            response=row["response"],
            tokens_in=_int(row["tokens_in"]),
            tokens_out=_int(row["tokens_out"]),
            cost_usd=None if pd.isna(row["cost_usd"]) else float(row["cost_usd"]),
            latency_ms=_int(row["latency_ms"]),
        )

    def record(self, address: str, attempt: int, provider: str, model: str, call: Call) -> None:
        """Write one attempt, committed before this returns: what was paid for is never forgotten by a crash."""
        row = {
            "request_hash": address,
            "attempt": attempt,
            "status": "ok" if call.is_ok else "error",
            "provider": provider,
            "model": model,
            "response": _all_storable(call.response),
            "error": _all_storable(call.error),
            "tokens_in": call.tokens_in,
            "tokens_out": call.tokens_out,
            "cost_usd": call.cost_usd,
            "latency_ms": call.latency_ms,
        }
        self._warehouse.append("ml.llm_calls", pd.DataFrame([row], dtype=object), source=provider)

    def spent_on(self, day: date) -> float:
        """USD spent on calls recorded on a KST date."""
        return readers.llm_cost_usd(self._warehouse.engine, day)


def _all_storable(value: Any) -> Any:
    """A JSON value with every text in it made storable: what was paid for is always kept."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): _all_storable(part) for name, part in value.items()}
    return [_all_storable(part) for part in value] if isinstance(value, list) else value


def _int(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
