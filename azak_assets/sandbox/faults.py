"""Faults on order: for a count or a time the answers under a path go wrong in a named way.

Belongs here: what can be ordered (one by one over HTTP, or as a plan in a file), which answer meets which order, and
how a true answer is spoilt. What an upstream says when it fails stands in `refusals`; when it fails of its own accord
(limits, keys, bad fields) is decided by the module of that upstream.
"""

import asyncio
import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from azak_assets.sandbox.wire.refusals import IN_SUCCESS, MAINTENANCE, refusal, upstream_of

Kind = Literal[
    "500", "429", "401", "403", "error_in_200", "empty", "html", "truncated", "cp949", "words", "expired_token", "lost",
]  # fmt: skip
KINDS = get_args(Kind)
_REFUSALS = frozenset({"500", "429", "401", "403", "error_in_200"})

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
#: Keys whose digits are names, not quantities: turned into words they would break the envelope, not the record.
_NAMES = re.compile(
    r"date|_dt$|_de$|_dd$|_cd$|yymm|hour|code|iscd|status|_no$|msg|_yn$|created|^id$|pubDate", re.IGNORECASE
)
_ELEMENT = re.compile(r"<([\w:]+)>([^<>]*)</\1>")
_DIGIT_WORDS = str.maketrans("0123456789.", "영일이삼사오육칠팔구점")


class Fault(BaseModel):
    """One order: whose answers go wrong, how, and how often or how long.

    Without `times`, `after` and `for` it is met once; with a window (seconds since the sandbox began to serve) as often
    as somebody asks in it, with both at most so often.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    path: Annotated[
        str, Field(pattern="^/", description="Beginning of the path, such as /kis or /opendart/api/list.json.")
    ]
    tr_id: str | None = Field(None, description="Only requests with this header: the service of KIS.")
    kind: Kind | None = Field(None, description="A fault by its name.")
    status: Annotated[int, Field(ge=200, le=599)] | None = Field(None, description="This HTTP status and a page.")
    delay: Annotated[float, Field(gt=0, le=600)] | None = Field(None, description="The true answer, seconds later.")
    field: str | None = Field(None, description="This field of every record, by its name in JSON or XML, goes wrong.")
    becomes: str | None = Field(None, description="What the field becomes: missing, null, words, or this text.")
    times: Annotated[int, Field(ge=1)] | None = Field(None, description="So many answers.")
    after: Annotated[float, Field(ge=0)] | None = Field(None, description="From so many seconds on.")
    lasts: Annotated[float, Field(gt=0)] | None = Field(None, alias="for", description="For so many seconds.")

    @field_validator("kind", mode="before")
    @classmethod
    def _as_written(cls, kind: object) -> object:
        return str(kind) if isinstance(kind, int) else kind  # YAML takes 500 for a number

    @model_validator(mode="after")
    def _require_one_fault(self) -> "Fault":
        named = [name for name in ("kind", "status", "delay", "field") if getattr(self, name) is not None]
        if len(named) != 1:
            found = ", ".join(named) or "none"
            raise ValueError(f"name what goes wrong by one of kind, status, delay and field; found: {found}")
        if (self.field is None) != (self.becomes is None):
            raise ValueError("field and becomes belong together: the field of a record, and what it becomes")
        if self.kind == "error_in_200" and upstream_of(self.path) not in IN_SUCCESS:
            known = ", ".join(IN_SUCCESS)
            raise ValueError(f"only {known} announce errors in an HTTP 200; the path is {self.path!r}")
        return self

    def is_open(self, met: int, seconds: float) -> bool:
        """Whether a request meets it that many seconds after the start, when so many have."""
        start = self.after or 0.0
        in_time = start <= seconds and (self.lasts is None or seconds < start + self.lasts)
        has_window = self.after is not None or self.lasts is not None
        most = self.times if self.times is not None else (None if has_window else 1)
        return in_time and (most is None or met < most)


class PlanError(Exception):
    """A plan of faults that cannot be read; the message names the file, the entry, the value and what to do."""


def read_plan(file: Path) -> list[Fault]:
    """The faults in a YAML file: a list of mappings, each with the fields of `Fault`. Raises PlanError."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list) or not entries:
        raise PlanError(f'{file} holds no list of faults: begin each with "- path: /kis", see `azak sandbox --help`.')
    try:
        return TypeAdapter(list[Fault]).validate_python(entries)
    except ValidationError as error:
        first = error.errors()[0]
        number, *names = first["loc"]
        where = f"fault {int(number) + 1}" + (f", {'.'.join(map(str, names))}" if names else "")
        value = "" if isinstance(first["input"], Mapping) else f" (found {first['input']!r})"
        problem = first["msg"].removeprefix("Value error, ")
        fields = ", ".join(info.alias or name for name, info in Fault.model_fields.items())
        raise PlanError(f"{file}: {where}: {problem}{value}. A fault has the fields {fields}.") from None


class Faults:
    """The orders; a request takes the first open one that names a beginning of its path.

    `tick` gives the seconds that the windows of a plan are counted in, from the moment this object is made.
    """

    def __init__(self, plan: Sequence[Fault] = (), tick: Callable[[], float] = time.monotonic) -> None:
        self._orders = list(plan)
        self._met = [0 for _ in plan]
        self._tick = tick
        self._began = tick()
        self._lock = threading.Lock()

    async def order(self, request: Request) -> Response:
        """`POST /sandbox/faults {"path": prefix, "kind": one of KINDS, "times": n}`, or another `Fault`."""
        try:
            fault = Fault.model_validate(await request.json())
        except ValidationError as error:
            first = error.errors()[0]
            named = ".".join(map(str, first["loc"]))
            expected = 'expected {"path": "/kis", "kind": "500", "times": 1}'
            return JSONResponse({"error": f"{named}: {first['msg']}; {expected}"}, 400)
        except ValueError:
            return JSONResponse({"error": 'expected {"path": "/kis", "kind": "500", "times": 1}'}, 400)
        with self._lock:
            self._orders.append(fault)
            self._met.append(0)
        return JSONResponse({"ordered": _described(fault)})

    async def tell(self, _: Request) -> Response:
        """`GET /sandbox/faults`: every order, how often it was met, and whether it still may be."""
        with self._lock:
            seconds = self._tick() - self._began
            return JSONResponse(
                [
                    {**_described(fault), "met": met, "is_open": fault.is_open(met, seconds)}
                    for fault, met in zip(self._orders, self._met, strict=True)
                ]
            )

    def take(self, path: str, tr_id: str | None = None) -> Fault | None:
        """The fault that a request meets, if any."""
        with self._lock:
            seconds = self._tick() - self._began
            for place, fault in enumerate(self._orders):
                is_meant = path.startswith(fault.path) and fault.tr_id in (None, tr_id)
                if is_meant and fault.is_open(self._met[place], seconds):
                    self._met[place] += 1
                    return fault
        return None


def _described(fault: Fault) -> dict[str, Any]:
    return fault.model_dump(by_alias=True, exclude_none=True)


class FaultMiddleware:
    """Applies the ordered fault to an answer. `expired_token` is left to the broker's gateway, in `scope["state"]`."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        path = scope.get("path", "")
        is_ours = scope["type"] != "http" or path.startswith("/sandbox")
        fault = None if is_ours else self._faults.take(path, Headers(scope=scope).get("tr_id"))
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.status is not None:
            await HTMLResponse(MAINTENANCE, fault.status)(scope, receive, send)
        elif fault.delay is not None:
            await asyncio.sleep(fault.delay)
            await self._app(scope, receive, send)
        elif fault.kind == "expired_token":
            scope.setdefault("state", {})["expired_token"] = True
            await self._app(scope, receive, send)
        elif fault.kind in _REFUSALS:
            await refusal(path, str(fault.kind))(scope, receive, send)
        elif fault.kind == "empty":
            await Response(b"", media_type="application/json")(scope, receive, send)
        elif fault.kind == "html":
            await HTMLResponse(MAINTENANCE)(scope, receive, send)
        else:
            await self._spoilt(fault, scope, receive, send)

    async def _spoilt(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages if message["type"] == "http.response.body")
        start = next(message for message in messages if message["type"] == "http.response.start")
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        if fault.kind == "lost":
            # It was carried out; of the answer the caller hears the first line, then the connection ends.
            await send({**start, "headers": [*kept, (b"content-length", str(len(body) + 1).encode())]})
            await send({"type": "http.response.body", "body": body[:1], "more_body": True})
            raise ConnectionAbortedError("ordered")
        if fault.kind == "truncated":
            body = body[: len(body) // 2]
        elif fault.field is not None:
            body = inside(body, lambda text: _with_wrong_field(text, str(fault.field), str(fault.becomes)))
        else:
            body = spoilt(str(fault.kind), body)
        kept.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": kept})
        await send({"type": "http.response.body", "body": body})


def inside(body: bytes, change: Callable[[str], bytes]) -> bytes:
    """The body changed, of an archive its files; what is no UTF-8 text stays, such as a master file of fixed width."""
    if body.startswith(b"PK"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(body)) as whole, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as changed:
            for member in whole.infolist():
                changed.writestr(member, inside(whole.read(member), change))
        return buffer.getvalue()
    try:
        return change(body.decode())
    except UnicodeDecodeError:
        return body


def spoilt(kind: str, body: bytes) -> bytes:
    """The body in undeclared CP949 ("cp949") or with its numbers as words ("words"), which needs JSON or XML."""
    return inside(body, (lambda text: text.encode("cp949", "replace")) if kind == "cp949" else _words)


def _words(text: str) -> bytes:
    if text.lstrip().startswith("<"):
        return _ELEMENT.sub(lambda found: f"<{found[1]}>{_in_words(found[1], found[2])}</{found[1]}>", text).encode()
    try:
        return json.dumps(_in_words("", json.loads(text)), ensure_ascii=False).encode()
    except ValueError:
        return text.encode()


def _with_wrong_field(text: str, field: str, becomes: str) -> bytes:
    """The text with this field of every record missing, null (XML: empty), in words, or another text."""
    if text.lstrip().startswith("<"):
        name = re.escape(field)

        def element(found: re.Match[str]) -> str:
            if becomes == "missing":
                return ""
            inner = {"null": "", "words": found[1].translate(_DIGIT_WORDS)}.get(becomes, becomes)
            return f"<{field}>{inner}</{field}>"

        return re.sub(rf"<{name}(?:\s[^>]*)?>([^<]*)</{name}>", element, text).encode()
    try:
        return json.dumps(_wrong(json.loads(text), field, becomes), ensure_ascii=False).encode()
    except ValueError:
        return text.encode()


def _wrong(value: Any, field: str, becomes: str) -> Any:
    if isinstance(value, list):
        return [_wrong(item, field, becomes) for item in value]
    if not isinstance(value, Mapping):
        return value
    changed = {name: _wrong(item, field, becomes) for name, item in value.items()}
    if field in changed:
        if becomes == "missing":
            del changed[field]
        else:
            in_words = str(changed[field]).translate(_DIGIT_WORDS)
            changed[field] = {"null": None, "words": in_words}.get(becomes, becomes)
    return changed


def _in_words(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _in_words(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_in_words(key, item) for item in value]
    if isinstance(value, bool) or _NAMES.search(key):
        return value
    text = str(value) if isinstance(value, int | float) else value
    return text.translate(_DIGIT_WORDS) if isinstance(text, str) and _NUMBER.fullmatch(text) else value
