"""Forecasts: the models, and what each predicted about every matched article.

Belongs here: declaring models, prompts and predictions as assets. How a forecast is made lives in `forecast`.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from azak_assets import krx
from azak_assets.defs.markdown import literal
from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_spec
from azak_assets.defs.windows import window_of
from azak_assets.ingest.report import StepReport
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import ChatModels, Retrieval
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.forecast.predict import ForecastReport

OWNER = "forecasts"
EVERY_MODEL_ANSWERED = "every_model_answered"
READ_BY_FORECASTS = [
    "text.mentions",
    "text.article_clusters",
    "raw.daily_bars",
    "raw.adjustment_factors",
    "raw.index_bars",
    "raw.disclosures",
    "ml.faiss_index",
    "ml.models",
    "ml.prompt_versions",
]
"""The same for both outputs: a backfill is refused where the assets of one step reach different partitions upstream."""


@dg.multi_asset(
    name="register_models",
    specs=[
        table_spec(
            "ml.models",
            "Models that forecast: local baselines and chat models, with their training cut-off and prices.\n\nSource: "
            "`azak_assets/forecast/models.yml`. A model that left the file keeps its row, since its forecasts refer to "
            "it.",
            owner=OWNER,
        ),
        table_spec(
            "ml.prompt_versions",
            "Every version of every prompt with its text and hash. Source: `azak_assets/forecast/prompts`.",
            owner=OWNER,
        ),
    ],
)
def models(
    warehouse: dg.ResourceParam[Warehouse], chat_models: dg.ResourceParam[ChatModels]
) -> Iterator[dg.MaterializeResult[None]]:
    """Register what stands in the committed files."""
    import pandas as pd  # noqa: PLC0415 - the code location loads without pandas

    from azak_assets.forecast.models import load_models, register_models  # noqa: PLC0415 - yaml and pydantic models

    described = load_models()
    models_result, prompts_result = register_models(warehouse, described)
    frame = pd.DataFrame([model.model_dump() for model in described])
    frame["configured"] = [model.is_local or model.provider in chat_models.clients for model in described]
    of_models, of_prompts = StepReport(), StepReport()
    shown = ["model_id", "provider", "model", "training_cutoff", "is_active", "configured"]
    of_models.add_load(models_result, frame, instant="training_cutoff", columns=shown)
    yield dg.MaterializeResult(asset_key=["ml", "models"], metadata=metadata_of(of_models))
    prompts = warehouse.read("ml.prompt_versions", columns=["prompt_version", "sha256", "observed_at"])
    of_prompts.add_load(prompts_result, prompts, instant="observed_at")
    yield dg.MaterializeResult(asset_key=["ml", "prompt_versions"], metadata=metadata_of(of_prompts))


@dg.multi_asset(
    name="forecast_articles",
    specs=[
        table_spec(
            "ml.predictions",
            "What each model predicted about each matched article: one row an article, stock, model, prompt and "
            "origin. Append only: a forecast that exists is not asked again.\n\nEvery context is read as of the "
            "forecast's cut-off. `origin` is `live` where the session was still open to news when the question was "
            "asked, else `replayed`; the two are never mixed. Known defect: a chat model may have read in training "
            "what followed; `is_contaminated`.",
            owner=OWNER,
            deps=READ_BY_FORECASTS,
            kinds=["openai"],
        ),
        table_spec(
            "ml.prediction_horizons",
            "Probabilities of up, flat and down with a band, one row a forecast and horizon (1, 5, 20 sessions). "
            "Append only.",
            owner=OWNER,
            deps=READ_BY_FORECASTS,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            EVERY_MODEL_ANSWERED,
            asset=["ml", "predictions"],
            description="Every model that is configured answered every question it was asked.",
        )
    ],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="llm",
)
def predictions(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    retrieval: dg.ResourceParam[Retrieval],
    chat_models: dg.ResourceParam[ChatModels],
) -> Iterator[dg.MaterializeResult[None]]:
    """Ask every active model that is configured about every matched article of the sessions."""
    # Imported here: the OpenAI client costs a second that loading the definitions must not pay.
    from azak_assets.forecast.by_origin import forecast_by_origin  # noqa: PLC0415
    from azak_assets.forecast.models import load_models  # noqa: PLC0415
    from azak_assets.ingest.vectors import open_index  # noqa: PLC0415

    window = window_of(context)
    index = open_index(warehouse, retrieval.embedder.name, retrieval.index_folder)
    if index is None:
        raise dg.Failure("There is no vector index yet: materialize ml/faiss_index first.", allow_retries=False)

    def progress(done: int, total: int) -> None:
        if done == total or done % max(total // 20, 1) == 0:
            context.log.info("forecasts %s: %d of %d", window.label, done, total)

    whole, by_origin = forecast_by_origin(
        warehouse,
        days=window.days,
        now=datetime.now(krx.KST),
        models=load_models(),
        index=index,
        embedder=retrieval.embedder,
        clients=chat_models.clients,
        budget_usd=chat_models.budget_usd,
        on_progress=progress,
    )
    report = StepReport(refused=sum(reasons.total() for reasons in whole.failed.values()))
    report.notes |= {
        "cost_usd": whole.cost_usd,
        "tokens_in": whole.tokens_in,
        "tokens_out": whole.tokens_out,
        "answers from the ledger": whole.ledger_hits,
    }
    if whole.not_configured:
        report.notes["not configured"] = ", ".join(whole.not_configured)
    for origin, of_origin in by_origin.items():
        for model, reasons in of_origin.failed.items():
            commonest = [f"{count} × {reason}" for reason, count in reasons.most_common(5)]
            report.lists[f"failed {model} ({origin})"] = commonest
            context.log.error("%s: %d forecasts missing. %s", model, reasons.total(), reasons.most_common(1)[0][0])
    made = warehouse.read(
        "ml.predictions",
        columns=["model_id", "origin", "stock_code", "direction", "confidence", "cutoff_at", "cost_usd"],
        days=(window.first.day, window.last.day),
    )
    report.add_appended(whole.inserted, made, instant="cutoff_at")
    report.tables["by model"] = made.groupby(["model_id", "origin"]).size().reset_index(name="forecasts")
    yield dg.MaterializeResult(
        asset_key=["ml", "predictions"],
        metadata=metadata_of(report),
        check_results=[_every_model_answered(whole)],
    )
    horizons = warehouse.read("ml.prediction_horizons", days=(window.first.day, window.last.day))
    of_horizons = StepReport()
    of_horizons.add_appended(whole.horizons_inserted, horizons, instant="trading_day")
    yield dg.MaterializeResult(asset_key=["ml", "prediction_horizons"], metadata=metadata_of(of_horizons))


def _every_model_answered(report: "ForecastReport") -> dg.AssetCheckResult:
    """Whether every configured model answered every question; a model without an answer fails the check."""
    sentences = [
        f"{model}: {reasons.total()} × {literal(reasons.most_common(1)[0][0])}"
        for model, reasons in report.failed.items()
    ]
    return dg.AssetCheckResult(
        asset_key=["ml", "predictions"],
        check_name=EVERY_MODEL_ANSWERED,
        passed=not report.failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"models that failed": len(report.failed)},
        description="; ".join(sentences),
    )
