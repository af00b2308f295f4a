"""Forecasts for the matched articles of some trading days, from every active model, append only.

Belongs here: which cases there are, who is asked, isolation of failures by model, and the rows of `ml.predictions`
and `ml.prediction_horizons`. Does not belong here: what a model sees (`context`), how it is asked (`llm`), what it
costs (`ledger`). A forecast's id is a hash of what was asked of whom; one that exists is never asked again, so a run
that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import openai
import pandas as pd

from azak_assets import krx
from azak_assets.forecast import baselines
from azak_assets.forecast.context import Context, ContextReader
from azak_assets.forecast.ledger import Ledger, canonical_json, sha256
from azak_assets.forecast.llm import BudgetSpent, CallFailed, Chat, Reply, Spending
from azak_assets.forecast.models import Model, Prompt, load_prompt
from azak_assets.scoring.bars import LOOKBACK_SESSIONS, BarHistory, Bars
from azak_assets.sources.streak import FailureStreak

if TYPE_CHECKING:
    from azak_assets.text.embedders import Embedder
    from azak_assets.text.vector_index import VectorIndex
    from azak_assets.warehouse.asof import AsOfClock
    from azak_assets.warehouse.warehouse import Warehouse

logger = logging.getLogger(__name__)

Origin = Literal["live", "replayed"]

SOURCE = "forecast"
DIRECTION_HORIZON = 5
"""A baseline's `direction` and `confidence` are those of its five-session probabilities, as a chat model's are."""

MAX_WORKERS = 8
STOP_AFTER = 10
"""A model that fails this often in a row is not asked again in this run: the cause is not in the cases."""

_CHUNK = 50
_LOCAL_CHUNK = 5000
"""Forecasts written at a time: chat answers often, for each took seconds; local ones in bulk."""

_OPTIONAL_COLUMNS = (
    "article_id", "slot", "sentiment_direction", "sentiment_score", "impact_level", "relevance", "urgency_level",
    "reasoning", "confidence", "target_price", "support_price", "prompt_hash", "tokens_in", "tokens_out", "cost_usd",
)  # fmt: skip
"""Columns of `ml.predictions` that not every model fills."""

_Rows = tuple[dict[str, Any], list[dict[str, Any]]]
"""A row of `ml.predictions` and its rows of `ml.prediction_horizons`."""


class ForecastCase(NamedTuple):
    """One article, one stock, and the instant beyond which nothing may be seen."""

    article_id: str
    stock_code: str
    cutoff_at: datetime
    trading_day: date


@dataclass(slots=True)
class ForecastReport:
    """What a run of forecasts did. USD and tokens are what this run used; answers from the ledger cost nothing.

    Tokens are those of the answers used; what failed calls cost is in `cost_usd` and in `ml.llm_calls`.
    """

    inserted: int = 0
    unchanged: int = 0
    horizons_inserted: int = 0
    failed: dict[str, Counter[str]] = field(default_factory=dict)
    """Per model: each reason for a missing forecast, with how many cases it cost."""
    not_configured: list[str] = field(default_factory=list)
    """Active models whose provider has no client, hence were not asked."""
    cost_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    ledger_hits: int = 0

    def add_failure(self, model: Model, failure: CallFailed) -> None:
        """Count a missing forecast under its reason."""
        self.failed.setdefault(model.model_id, Counter())[str(failure)] += 1

    def add(self, other: ForecastReport) -> None:
        """Add what another part of the same run did."""
        for name in (
            "inserted",
            "unchanged",
            "horizons_inserted",
            "cost_usd",
            "tokens_in",
            "tokens_out",
            "ledger_hits",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for model, reasons in other.failed.items():
            self.failed.setdefault(model, Counter()).update(reasons)
        self.not_configured = list(dict.fromkeys([*self.not_configured, *other.not_configured]))


def prediction_id(case: ForecastCase, model: Model, prompt_version: str, origin: Origin) -> str:
    """The id of a forecast about an article: the hash of what was asked, of whom, and how."""
    parts = ["article", case.article_id, case.stock_code, model.model_id, model.version, prompt_version, origin]
    return sha256(canonical_json(parts))


def forecast_articles(
    warehouse: Warehouse,
    *,
    days: Sequence[date],
    models: Iterable[Model],
    index: VectorIndex | None,
    embedder: Embedder | None,
    origin: Origin,
    clients: Mapping[str, openai.OpenAI],
    budget_usd: float | None = None,
    only: tuple[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int = MAX_WORKERS,
) -> ForecastReport:
    """Ask every active model about every matched article of the trading days, as far as not asked before.

    A case is the first-known article of a cluster and a stock it mentions. A replayed forecast is cut off at the
    instant the match became known, a live one now; what was asked live is not replayed. `clients` has one openai client
    a provider; a model of another provider is reported as not configured. `only` narrows the cases to one
    article_id and stock_code. `budget_usd` bounds what is spent on a KST day, calls of earlier runs included; None does
    not. `on_progress(done, total)` is called as forecasts are made. Failures of a model end in the report, never in an
    exception.
    """
    active = [model for model in models if model.is_active]
    usable = [model for model in active if model.is_local or model.provider in clients]
    report = ForecastReport(not_configured=[model.model_id for model in active if model not in usable])
    clock: AsOfClock = "observed" if origin == "live" else "known"
    prompt = load_prompt()
    cases = _cases(warehouse, days, origin)
    if only is not None:
        cases = [case for case in cases if (case.article_id, case.stock_code) == only]
    existing = set(
        warehouse.read("ml.predictions", columns=["prediction_id"], where={"trading_day": list(days)})["prediction_id"]
    )
    # What was asked live is not asked again once its day is over: the tick that crosses midnight would pay for the
    # whole day anew.
    origins: tuple[Origin, ...] = ("live",) if origin == "live" else ("live", "replayed")
    todo = {
        model.model_id: [
            q
            for q in cases
            if existing.isdisjoint(prediction_id(q, model, _prompt_version(model, prompt), one) for one in origins)
        ]
        for model in usable
    }
    report.unchanged = len(cases) * len(usable) - sum(map(len, todo.values()))
    run = _Run(warehouse, report, origin, clock, prompt, sum(map(len, todo.values())), on_progress)
    run.ask_baselines([model for model in usable if model.is_local], todo)
    chats = [model for model in usable if not model.is_local and todo[model.model_id]]
    if chats:
        ledger = Ledger(warehouse)
        spent_before = ledger.spent_on(datetime.now(krx.KST).date())
        spending = Spending(budget_usd, spent_before)
        reader = ContextReader(warehouse, clock, index, embedder)
        asked = [Chat(clients[model.provider], model, prompt, ledger, spending) for model in chats]
        run.ask_chats(asked, todo, reader, max_workers)
        report.cost_usd = spending.spent_usd - spent_before
    return report


def _prompt_version(model: Model, prompt: Prompt) -> str:
    return f"{model.model}_v{model.version}" if model.is_local else prompt.version


def _cases(warehouse: Warehouse, days: Sequence[date], origin: Origin) -> list[ForecastCase]:
    """Every first-known article of a cluster × every stock it mentions, in order of cut-off.

    The same rule as `marts.matches`, which forecasts must not read; `tests/dbt/test_rules_agree.py` runs both over the
    same rows and lists every difference.
    """
    cutoff = warehouse.cutoff() if origin == "live" else None
    within = {"trading_day": list(days)}
    clusters = warehouse.read("text.article_clusters", columns=["article_id", "cluster_id"], where=within)
    first = clusters.loc[clusters["article_id"] == clusters["cluster_id"], "article_id"]
    mentions = warehouse.read(
        "text.mentions", columns=["article_id", "stock_code", "known_at", "observed_at", "trading_day"], where=within
    )
    if cutoff is not None:
        mentions = mentions[mentions["observed_at"] <= pd.Timestamp(cutoff)]
    mentions = mentions[mentions["article_id"].isin(set(first))]
    pairs = mentions.sort_values(["known_at", "article_id", "stock_code"]).drop_duplicates(["article_id", "stock_code"])
    columns = (pairs["article_id"], pairs["stock_code"], pairs["known_at"], pairs["trading_day"])
    return [
        ForecastCase(article, stock, cutoff or known_at.to_pydatetime().astimezone(UTC), day)
        for article, stock, known_at, day in zip(*columns, strict=True)
    ]


def _is_contaminated(model: Model, cutoff_at: datetime) -> bool | None:
    """Whether the model may have read in training what followed the cut-off; None when its maker does not say."""
    if model.is_local:
        return False
    if model.training_cutoff is None:
        return None
    # The last day of training counts whole, by the calendar of the market that is forecast.
    return cutoff_at < datetime.combine(model.training_cutoff, time.min, krx.KST) + timedelta(days=1)


class _Breaker:
    """Stops asking a model that cannot be asked (no key, no credit) or that failed ten times in a row. Thread-safe."""

    def __init__(self) -> None:
        self._stopped: dict[str, str] = {}
        self._streaks = defaultdict[str, FailureStreak](lambda: FailureStreak(STOP_AFTER))
        self._lock = threading.Lock()

    def ask(self, chat: Chat, context: Context | CallFailed) -> tuple[Context, Reply]:
        if isinstance(context, CallFailed):
            raise context
        name = chat.model.model_id
        if reason := self._stopped.get(name):
            raise CallFailed(reason)
        try:
            reply = chat.ask(context.json)
        except BudgetSpent:
            raise  # no fault of the model, and a cheaper case may still fit
        except CallFailed as failure:
            with self._lock:
                self._streaks[name].add(failure)
                if name not in self._stopped and (failure.is_fatal or self._streaks[name].is_at_limit):
                    self._stopped[name] = f"not asked: {name} was stopped after: {failure}"
                    logger.warning("%s is not asked again in this run: %s", name, failure)
            raise
        with self._lock:
            self._streaks[name].add(None)
        return context, reply


def _context(reader: ContextReader, case: ForecastCase) -> Context | CallFailed:
    try:
        return reader.build(case.article_id, case.stock_code, case.cutoff_at)
    except LookupError as error:
        return CallFailed(f"no context: {error}")


@dataclass(slots=True)
class _Run:
    """One call of `forecast_articles`: what all its models share. Only the calling thread writes rows and the
    report."""

    warehouse: Warehouse
    report: ForecastReport
    origin: Origin
    clock: AsOfClock
    prompt: Prompt
    total: int
    on_progress: Callable[[int, int], None] | None
    done: int = 0

    def ask_baselines(self, models: list[Model], todo: Mapping[str, list[ForecastCase]]) -> None:
        cases = [case for model in models for case in todo[model.model_id]]
        if not cases:
            return
        cutoffs = [case.cutoff_at for case in cases]
        earliest = krx.session_on_or_before(min(cutoffs).astimezone(krx.KST).date()).day
        start = krx.shift(earliest, -baselines.HISTORY_SESSIONS).day
        end = max(cutoffs).astimezone(krx.KST).date()
        history = BarHistory.read(self.warehouse, start, end, {case.stock_code for case in cases})

        @cache
        def market() -> BarHistory:
            return BarHistory.read(self.warehouse, krx.shift(earliest, -LOOKBACK_SESSIONS - 1).day, end)

        @cache
        def known(stock_code: str, at: datetime) -> tuple[Bars, float, Context]:
            bars = _newest(history.as_of(stock_code, at, self.clock), baselines.HISTORY_SESSIONS)
            sigma = history.sigma20(stock_code, at)
            sigma = market().market_sigma20(at) if sigma is None else sigma
            return bars, sigma, _local_context(stock_code, at, bars, sigma)

        rows = []
        for model in models:
            for case in todo[model.model_id]:
                bars, sigma, context = known(case.stock_code, case.cutoff_at)
                rows.append(self._local_rows(case, model, context, baselines.forecast(model.model, bars, sigma)))
                if len(rows) == _LOCAL_CHUNK:
                    self._write(rows)
                    rows = []
        self._write(rows)

    def ask_chats(
        self, chats: list[Chat], todo: Mapping[str, list[ForecastCase]], reader: ContextReader, max_workers: int
    ) -> None:
        wanted: dict[ForecastCase, list[Chat]] = {}
        for chat in chats:
            for case in todo[chat.model.model_id]:
                wanted.setdefault(case, []).append(chat)
        order = sorted(wanted, key=lambda q: (q.cutoff_at, q.article_id, q.stock_code))
        breaker = _Breaker()
        with ThreadPoolExecutor(max_workers, thread_name_prefix="forecast") as pool:
            # In blocks: what was answered is written, and thousands of contexts of 10 kB would only wait for a turn.
            for block in (order[n : n + _CHUNK] for n in range(0, len(order), _CHUNK)):
                contexts = pool.map(lambda case: _context(reader, case), block)
                calls = {
                    pool.submit(breaker.ask, chat, context): (case, chat)
                    for case, context in zip(block, contexts, strict=True)
                    for chat in wanted[case]
                }
                rows = []
                for call in as_completed(calls):
                    case, chat = calls[call]
                    try:
                        context, reply = call.result()
                    except CallFailed as failure:
                        self.report.add_failure(chat.model, failure)
                        self._step(1)
                    else:
                        rows.append(self._chat_rows(case, chat.model, context, reply))
                self._write(rows)

    def _local_rows(
        self, case: ForecastCase, model: Model, context: Context, answer: Mapping[int, baselines.Probabilities]
    ) -> _Rows:
        five = answer[DIRECTION_HORIZON]
        shares = {"flat": five.p_flat, "up": five.p_up, "down": five.p_down}
        likeliest = max(shares, key=lambda word: shares[word])  # the first of equals: no lean is flat
        head = self._head(case, model, context) | {"direction": likeliest, "confidence": shares[likeliest]}
        return head, self._horizon_rows(head, {h: asdict(one) for h, one in answer.items()})

    def _chat_rows(self, case: ForecastCase, model: Model, context: Context, reply: Reply) -> _Rows:
        if reply.is_from_ledger:
            self.report.ledger_hits += 1
        else:
            self.report.tokens_in += reply.tokens_in or 0
            self.report.tokens_out += reply.tokens_out or 0
        head = self._head(case, model, context) | {
            **reply.answer.model_dump(exclude={"horizon_1", "horizon_5", "horizon_20"}),
            "prompt_hash": reply.request_hash,
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "cost_usd": reply.cost_usd,
        }
        return head, self._horizon_rows(head, {h: one.model_dump() for h, one in reply.answer.horizons.items()})

    def _head(self, case: ForecastCase, model: Model, context: Context) -> dict[str, Any]:
        """The row of `ml.predictions` as far as it does not depend on the answer."""
        version = _prompt_version(model, self.prompt)
        return dict.fromkeys(_OPTIONAL_COLUMNS) | {
            "prediction_id": prediction_id(case, model, version, self.origin),
            "kind": "article",
            "article_id": case.article_id,
            "stock_code": case.stock_code,
            "model_id": model.model_id,
            "model_version": model.version,
            "prompt_version": version,
            "origin": self.origin,
            "cutoff_at": case.cutoff_at,
            "trading_day": case.trading_day,
            "tradable_session": krx.tradable_session(case.cutoff_at).day,
            "base_price": context.base_price,
            "context_hash": context.context_hash,
            "articles_seen": list(context.articles_seen),
            "is_contaminated": _is_contaminated(model, case.cutoff_at),
        }

    @staticmethod
    def _horizon_rows(head: Mapping[str, Any], answer: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "prediction_id": head["prediction_id"],
                "trading_day": head["trading_day"],
                "horizon_sessions": horizon,
                "band_low": None,
                "band_high": None,
                **one,
            }
            for horizon, one in answer.items()
        ]

    def _write(self, rows: list[_Rows]) -> None:
        """Append forecasts with their horizons, both or neither."""
        if not rows:
            return
        heads = pd.DataFrame([head for head, _ in rows], dtype=object)
        heads["cutoff_at"] = pd.to_datetime(heads["cutoff_at"], utc=True)
        heads["is_contaminated"] = heads["is_contaminated"].astype("boolean")
        horizons = pd.DataFrame([one for _, many in rows for one in many])
        with self.warehouse.transaction() as together:
            result = together.append("ml.predictions", heads, source=SOURCE)
            horizons_result = together.append("ml.prediction_horizons", horizons, source=SOURCE)
        self.report.inserted += result.inserted
        self.report.horizons_inserted += horizons_result.inserted
        # Another run may have answered the same cases meanwhile; its answers stand.
        self.report.unchanged += result.unchanged
        self._step(len(rows))

    def _step(self, count: int) -> None:
        self.done += count
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)


def _newest(bars: Bars, count: int) -> Bars:
    return Bars(*(getattr(bars, name)[-count:] for name in Bars.__slots__))


def _local_context(stock_code: str, at: datetime, bars: Bars, sigma20: float) -> Context:
    """What a baseline sees, in the same form as what a chat model sees."""
    closes = [
        [day.isoformat(), None if halted else close]
        for day, close, halted in zip(bars.days.astype(object), bars.close.tolist(), bars.is_halted, strict=True)
    ]
    factors = {str(day): factor for day, factor in zip(bars.days, bars.factor.tolist(), strict=True) if factor != 1}
    seen = {"closes": closes, "factors": factors, "sigma20": sigma20}
    text = canonical_json({"stock_code": stock_code, "cutoff_at": at.isoformat(), **seen})
    return Context(text, sha256(text), (), int(bars.close[-1]) if len(bars.close) else None)
