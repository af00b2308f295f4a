"""What a sandbox model says: a value for any JSON schema, derived from the prompt and nothing else.

The mood of a prompt is counted from Korean words of good and bad news, headlines more than the rest, with a jitter
fixed per model and prompt: two models agree mostly and not always. Numbers are guessed from the names of properties
(probabilities of one object sum to one); everything stays inside the schema's own bounds. No wire format belongs here.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

GOOD_WORDS = (
    "상회", "체결", "수주", "성장", "호실적", "강세", "매입", "흑자", "증가", "흥행", "최대", "선정", "인정", "수혜",
    "확대", "강화", "급등", "상승", "상향", "돌파", "경신", "개선", "승인", "성공", "호조",
)  # fmt: skip
BAD_WORDS = (
    "손실", "적자", "유상증자", "반발", "부진", "우려", "약세", "화재", "차질", "하향", "해지", "감소", "리콜",
    "충당금", "압수수색", "횡령", "실패", "반려", "악재", "급락", "블록딜", "과징금", "불확실", "구조조정", "하락",
    "둔화", "소송",
)  # fmt: skip
_HEADLINE = re.compile(r"제목|헤드라인|headline|title", re.IGNORECASE)
#: Where a prompt tells the share's price, the surest way first.
_PRICES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:base_price|current_price)\W{1,4}([1-9][\d,]*)",
        r"(?:현재가|기준가|종가)\D{0,6}([1-9][\d,]*)",
        r"([1-9][\d,]{2,})\s*원",
    )
)
_AT_HORIZON = re.compile(r"horizon_?(\d+)")
_UP = frozenset({"up", "positive", "bullish", "buy", "상승", "긍정", "매수"})
_DOWN = frozenset({"down", "negative", "bearish", "sell", "하락", "부정", "매도"})
_PART = re.compile(r"(?:^|_)(up|flat|down|hold|neutral)(?:_|$)")
_HORIZONS = (1, 5, 20)


class SchemaError(ValueError):
    """A schema the service refuses, in its words."""


def check_strict(schema: Mapping[str, Any], path: str = "root") -> None:
    """The rules of a strict schema: every property required, no additional ones."""
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            raise SchemaError(f"In context={path}, 'additionalProperties' is required to be supplied and to be false.")
        missing = set(schema.get("properties", {})) - set(schema.get("required", []))
        if missing:
            raise SchemaError(f"In context={path}, 'required' must include every property; missing {sorted(missing)}.")
    for word in ("properties", "$defs", "definitions"):
        for name, part in schema.get(word, {}).items():
            check_strict(part, f"{path}.{name}")
    for part in [schema.get("items"), *schema.get("anyOf", [])]:
        if isinstance(part, dict):
            check_strict(part, f"{path}.items")


def mood_of(text: str, model: str) -> float:
    """From -1 (bad news) to 1 (good news)."""
    balance = strength = 0
    for line, weight in _weighted(text):
        good, bad = (sum(line.count(word) for word in words) for words in (GOOD_WORDS, BAD_WORDS))
        balance += weight * (good - bad)
        strength += weight * (good + bad)
    digest = hashlib.sha256(f"{model}\n{text}".encode()).digest()
    jitter = (int.from_bytes(digest[:4]) / 2**32 - 0.5) * 0.5
    return max(-1.0, min(1.0, 0.85 * balance / (strength + 1) + jitter))


def _weighted(text: str) -> list[tuple[str, int]]:
    """The parts of a prompt with their weight: of a JSON prompt only the article it is about, else line by line."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict) and isinstance(content.get("article"), dict):
        article = content["article"]
        return [(str(value), 3 if _HEADLINE.search(key) else 1) for key, value in article.items()]
    return [(line, 3 if _HEADLINE.search(line) else 1) for line in text.splitlines()]


def answer_to(schema: Mapping[str, Any], question: str, model: str) -> Any:
    """A value that satisfies the schema. Raises SchemaError for a `$ref` that leads nowhere."""
    return _Answer(schema, question, mood_of(question, model)).value(schema, "", {})


class _Answer:
    def __init__(self, root: Mapping[str, Any], question: str, mood: float) -> None:
        self._root = root
        self._mood = mood
        found = next((match for pattern in _PRICES if (match := pattern.search(question))), None)
        self._price = int(found.group(1).replace(",", "")) if found else None

    def value(self, schema: Mapping[str, Any], name: str, built: Mapping[str, Any]) -> Any:
        """`built` holds the properties of the same object that have a value already."""
        schema = self._resolved(schema)
        options = schema.get("anyOf") or schema.get("oneOf")
        if "const" in schema or "enum" in schema:
            return self._choice([schema["const"]] if "const" in schema else schema["enum"])
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        if options or isinstance(kinds, list):
            alternatives = options or [{**schema, "type": kind} for kind in kinds]
            return self.value(self._alternative([self._resolved(part) for part in alternatives], name), name, built)
        makers: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(schema, built),
            "array": lambda: self._array(schema, name),
            "number": lambda: self._number(schema, name, built, "number"),
            "integer": lambda: self._number(schema, name, built, "integer"),
            "boolean": lambda: self._mood > 0,
            "string": lambda: self._text(schema),
            "null": lambda: None,
        }
        if kinds not in makers:
            raise SchemaError(f"'{kinds}' is not a valid type.")
        return makers[kinds]()

    def _alternative(self, alternatives: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
        """The first that is not null; null where a price is asked for and the prompt tells none."""
        null = next((part for part in alternatives if part.get("type") == "null"), None)
        if null is not None and self._price is None and _is_price(name):
            return null
        return next((part for part in alternatives if part is not null), {"type": "null"})

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema or "allOf" in schema:
            if "allOf" in schema:
                merged = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    merged |= self._resolved(part)
                schema = merged
                continue
            target: Any = self._root
            for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                target = target.get(step) if isinstance(target, Mapping) else None
            if not isinstance(target, Mapping):
                raise SchemaError(f"reference can only point to definitions defined in the schema: {schema['$ref']}")
            schema = target
        return schema

    def _choice(self, values: list[Any]) -> Any:
        """A direction by the mood, or a step of a scale by its strength."""
        values = [value for value in values if value is not None] or [None]
        words = [str(value).lower() for value in values]
        up = next((index for index, word in enumerate(words) if word in _UP), None)
        down = next((index for index, word in enumerate(words) if word in _DOWN), None)
        if up is not None and down is not None:
            between = next((index for index in range(len(values)) if index not in {up, down}), up)
            return values[up if self._mood > 0.15 else down if self._mood < -0.15 else between]
        return values[min(int(abs(self._mood) * len(values)), len(values) - 1)]

    def _object(self, schema: Mapping[str, Any], built: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        answer: dict[str, Any] = {}
        for name, part in properties.items():
            at = _AT_HORIZON.search(name)
            known = {"horizon": int(at.group(1))} if at else built
            answer[name] = self.value(part, name, {**known, **answer})
        parts = [n for n in properties if _PART.search(n) and isinstance(answer[n], float)]
        if len(parts) > 1:
            answer |= self._probabilities(parts, _horizon_of({**built, **answer}))
        return answer

    def _probabilities(self, names: list[str], horizon: int) -> dict[str, float]:
        """Of up, flat and down; a longer horizon knows less. They sum to one exactly as they are printed."""
        strength = 1.6 * self._mood / math.sqrt(horizon) ** 0.5
        pulls = {"up": strength, "down": -strength}
        weights = [math.exp(pulls.get(_part_of(name), 0.1)) for name in names]
        rounded = [round(weight / sum(weights), 4) for weight in weights]
        rounded[-1] = round(1 - sum(rounded[:-1]), 4)
        return dict(zip(names, rounded, strict=True))

    def _array(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        items = self._resolved(schema.get("items", {"type": "string"}))
        least, most = schema.get("minItems", 1), schema.get("maxItems", 10**6)
        horizons = self._horizons(items, name)
        if horizons is not None:
            key, values = horizons
            return [value if key is None else self._object_at(items, key, value) for value in values[:most]]
        return [self.value(items, name, {}) for _ in range(min(max(least, 1), most))]

    def _horizons(self, items: Mapping[str, Any], name: str) -> tuple[str | None, tuple[int, ...]] | None:
        """The sessions a list of forecasts is about: those the schema names, else 1, 5 and 20."""
        if "horizon" in name and items.get("type") == "integer":
            return None, tuple(items.get("enum", _HORIZONS))
        for key, part in items.get("properties", {}).items():
            resolved = self._resolved(part)
            if "horizon" in key and (resolved.get("type") == "integer" or "enum" in resolved):
                return key, tuple(resolved.get("enum", _HORIZONS))
        return None

    def _object_at(self, items: Mapping[str, Any], key: str, value: int) -> dict[str, Any]:
        fixed = {**items, "properties": {**items["properties"], key: {"const": value}}}
        return self._object(fixed, {key: value})

    def _number(self, schema: Mapping[str, Any], name: str, built: Mapping[str, Any], kind: str) -> float | int:
        low, high = schema.get("minimum"), schema.get("maximum")
        number = self._guess(name.lower(), _horizon_of(built))
        if high == 100 and 0 < number < 1:
            number *= 100
        if low is None and "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + (1 if kind == "integer" else 1e-6)
        if high is None and "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - (1 if kind == "integer" else 1e-6)
        number = max(number, low) if low is not None else number
        number = min(number, high) if high is not None else number
        return round(number) if kind == "integer" else float(round(number, 4))

    def _guess(self, name: str, horizon: int) -> float:
        mood = self._mood
        number = abs(mood)
        if "horizon" in name:
            number = horizon
        elif "band" in name or "return" in name:
            edge = -0.03 if "low" in name else 0.03 if "high" in name else 0.0
            number = (0.01 * mood + edge) * math.sqrt(horizon)
        elif _is_price(name):
            number = self._price_at(name)
        elif "sentiment" in name or name == "score":
            number = mood
        elif any(word in name for word in ("relevance", "completeness")):
            number = 0.6 + 0.35 * abs(mood)
        elif _PART.search(name) or any(word in name for word in ("confidence", "probab", "certain")):
            number = 0.45 + 0.45 * abs(mood)
        return number

    def _price_at(self, name: str) -> float:
        """A bearish target lies below the price, and what limits the loss above it."""
        sign = 1 if self._mood >= 0 else -1
        share = -0.04 * sign if "support" in name or "stop" in name else sign * (0.05 + 0.1 * abs(self._mood))
        if "base" in name or "current" in name:
            share = 0.0
        return round((self._price or 10_000) * (1 + share))

    def _text(self, schema: Mapping[str, Any]) -> str:
        tone = "긍정적" if self._mood > 0.15 else "부정적" if self._mood < -0.15 else "중립적"
        text = f"주어진 내용의 어조는 {tone}이며 강도는 {abs(self._mood):.2f}이다."
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")


def _is_price(name: str) -> bool:
    return any(word in name.lower() for word in ("price", "target", "support", "stop")) and "period" not in name.lower()


def _horizon_of(built: Mapping[str, Any]) -> int:
    return next((value for name, value in built.items() if "horizon" in name and isinstance(value, int)), 1)


def _part_of(name: str) -> str:
    found = _PART.search(name)
    return found.group(1) if found else ""
