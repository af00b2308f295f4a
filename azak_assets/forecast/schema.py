"""The answer a chat model must give, as pydantic types and as the JSON schema sent with every request.

Belongs here: the fields, their ranges and the arithmetic rules an answer must keep. Does not belong here: how the
answer is asked for (`llm`) or what an answer means for a score (`scoring`). Ranges stay out of the wire schema: numeric
and length limits are outside the subset that every host of strict schemas takes, and some hosts enforce no schema at
all, so every answer is validated here whatever the host promised.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PROBABILITY_TOLERANCE = 0.01
"""Largest accepted distance of p_up + p_flat + p_down from 1: answers in two decimals round to 0.99 or 1.01."""

Probability = Annotated[float, Field(ge=0, le=1)]
DEAREST_KRW = 10**9
"""No share ever cost a hundredth of this; a larger price is rubbish, and one of 10^30 would not fit any column."""
Direction = Literal["up", "flat", "down"]


class _Strict(BaseModel):
    # OpenAI's strict mode demands additionalProperties:false and every property required: so no defaults anywhere.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HorizonAnswer(_Strict):
    """Probabilities of the three outcomes at one horizon, renormalised to sum to one, and an 80 % band."""

    p_up: Probability
    p_flat: Probability
    p_down: Probability
    band_low: float | None = Field(ge=-1, le=1, description="lower end of the 80 % band, log return")
    band_high: float | None = Field(ge=-1, le=1, description="upper end of the 80 % band, log return")

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = self.p_up + self.p_flat + self.p_down
        # The small addend forgives binary fractions: 0.33 + 0.33 + 0.33 is a hair below 0.99.
        if abs(total - 1) > PROBABILITY_TOLERANCE + 1e-9:
            raise ValueError(
                f"p_up + p_flat + p_down is {total:.4f}; the three must sum to 1 (±{PROBABILITY_TOLERANCE})"
            )
        if (self.band_low is None) != (self.band_high is None):
            raise ValueError("band_low and band_high are given together or not at all")
        if self.band_low is not None and self.band_high is not None and self.band_low > self.band_high:
            raise ValueError(f"band_low {self.band_low} is above band_high {self.band_high}")
        for field in ("p_up", "p_flat", "p_down"):
            object.__setattr__(self, field, getattr(self, field) / total)
        return self


class ModelAnswer(_Strict):
    """One model's assessment of one article's impact on one stock."""

    sentiment_direction: Literal["positive", "negative", "neutral"]
    sentiment_score: float = Field(ge=-1, le=1)
    impact_level: Literal["low", "medium", "high", "critical"]
    relevance: Probability
    urgency_level: Literal["routine", "notable", "urgent", "breaking"]
    reasoning: str = Field(min_length=1, max_length=4000)
    horizon_1: HorizonAnswer
    horizon_5: HorizonAnswer
    horizon_20: HorizonAnswer
    direction: Direction = Field(description="the direction expected over five sessions")
    target_price: int | None = Field(
        gt=0, le=DEAREST_KRW, description="KRW; the price the move should reach, null when there is none"
    )
    support_price: int | None = Field(
        gt=0,
        le=DEAREST_KRW,
        description="KRW; on the other side of the current price, the level that would refute the call",
    )
    confidence: Probability

    @field_validator("reasoning")
    @classmethod
    def _can_be_stored(cls, text: str) -> str:
        # PostgreSQL stores neither, and one such answer would stop every later run at the same place.
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError("holds a NUL or half a character")
        return text

    @property
    def horizons(self) -> dict[int, HorizonAnswer]:
        """Answers by horizon in sessions."""
        return {1: self.horizon_1, 5: self.horizon_5, 20: self.horizon_20}


_NOT_ON_THE_WIRE = {"minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "title"}


def response_format() -> dict[str, Any]:
    """The `response_format` of a chat completion that must follow `ModelAnswer` (strict JSON schema)."""
    schema = _without(ModelAnswer.model_json_schema(), _NOT_ON_THE_WIRE)
    return {"type": "json_schema", "json_schema": {"name": "impact_assessment", "strict": True, "schema": schema}}


def _without(node: Any, names: set[str]) -> Any:
    """A copy of a JSON schema without the keywords in `names`; no property of ours is called like one of them."""
    if isinstance(node, dict):
        return {key: _without(value, names) for key, value in node.items() if key not in names}
    return [_without(value, names) for value in node] if isinstance(node, list) else node
