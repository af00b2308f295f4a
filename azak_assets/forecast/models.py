"""Which models forecast and which prompt they get: `models.yml` and `prompts/*.md`, checked and registered.

Belongs here: the description of a model, its validation, and the rows of `ml.models` and `ml.prompt_versions`. Does not
belong here: keys and addresses of providers, which arrive with the clients, and the calls themselves (`llm`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from azak_assets.warehouse.scope import LoadResult, Scope

if TYPE_CHECKING:
    from azak_assets.warehouse.warehouse import Warehouse

MODELS_FILE = Path(__file__).with_name("models.yml")
PROMPTS = Path(__file__).with_name("prompts")

ARTICLE_PROMPT = "article_impact_v1"
"""The prompt version in use for articles. A prompt file is never edited once used: write the next version beside it."""

LOCAL_MODELS = frozenset({"base_rate", "persistence"})


class ModelsFileError(ValueError):
    """`models.yml` cannot be used; the message names the file, the model, the field and what to do."""


class Model(BaseModel):
    """One model as it forecasts: a local baseline or a chat model at a provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str = Field(min_length=1)
    version: str = Field(min_length=1)
    provider: Literal["local", "openai", "openrouter"]
    model: str = Field(min_length=1)
    temperature: float | None = Field(ge=0, le=2)
    training_cutoff: date | None
    usd_per_1m_input: float | None = Field(ge=0)
    usd_per_1m_output: float | None = Field(ge=0)
    is_active: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.provider == "local" and self.model not in LOCAL_MODELS:
            raise ValueError(f"model is {self.model!r}, but the local models are {', '.join(sorted(LOCAL_MODELS))}")
        if self.provider != "local" and (self.usd_per_1m_input is None or self.usd_per_1m_output is None):
            raise ValueError(
                "usd_per_1m_input and usd_per_1m_output are null, but a budget cannot be kept without prices"
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether the model runs here and costs nothing."""
        return self.provider == "local"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt: its name (the file's), its text and the text's sha256."""

    version: str
    body: str
    sha256: str


def load_models(path: Path = MODELS_FILE) -> list[Model]:
    """The models described in a YAML file, in its order; raises `ModelsFileError` naming every fault found."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        models = TypeAdapter(list[Model]).validate_python(rows)
    except yaml.YAMLError as error:
        raise ModelsFileError(f"{path}: not YAML ({error}); correct the file") from error
    except ValidationError as error:
        raise ModelsFileError(f"{path}: {_faults(error, rows)}; correct the file") from error
    ids = [model.model_id for model in models]
    if repeated := sorted({one for one in ids if ids.count(one) > 1}):
        raise ModelsFileError(f"{path}: model_id {', '.join(repeated)} is listed more than once; keep one entry each")
    return models


def _faults(error: ValidationError, rows: object) -> str:
    faults = []
    for fault in error.errors():
        number, *field = fault["loc"] or ("file",)
        row = rows[number] if isinstance(rows, list) and isinstance(number, int) else None
        name = row.get("model_id", f"entry {number}") if isinstance(row, dict) else f"entry {number}"
        where = ".".join(map(str, field)) or "entry"
        value = f" (value {fault['input']!r})" if field else ""
        faults.append(f"model {name}, {where}: {fault['msg']}{value}")
    return "; ".join(faults)


def load_prompt(version: str = ARTICLE_PROMPT) -> Prompt:
    """Read a prompt version; raises FileNotFoundError naming the versions there are."""
    path = PROMPTS / f"{version}.md"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in PROMPTS.glob("*.md")))
        raise FileNotFoundError(f"prompt version {version!r}: {path} does not exist; the versions are {known}")
    body = path.read_text(encoding="utf-8")
    return Prompt(version, body, hashlib.sha256(body.encode()).hexdigest())


def register_models(warehouse: Warehouse, models: list[Model]) -> tuple[LoadResult, LoadResult]:
    """Write the models to `ml.models` and every prompt version to `ml.prompt_versions`; returns what changed in each.

    A model that left the file keeps its row, for its forecasts refer to it; set is_active to false to retire one.
    """
    prompts = [load_prompt(one.stem) for one in sorted(PROMPTS.glob("*.md"))]
    prompts_result = warehouse.load(
        "ml.prompt_versions",
        pd.DataFrame([{"prompt_version": p.version, "sha256": p.sha256, "body": p.body} for p in prompts]),
        Scope(days=None),
        complete=False,
        source="forecast",
    )
    frame = pd.DataFrame([model.model_dump(exclude={"version"}) for model in models])
    return warehouse.load("ml.models", frame, Scope(days=None), complete=False, source="forecast"), prompts_result
