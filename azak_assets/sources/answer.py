"""One HTTP answer as a client reads it: status, text, JSON, archive, and the failure a bad one stands for.

Belongs here: decoding a body, and what an HTTP status means where the body does not say more. Does not belong here:
sending a request (`transport`), and an upstream's own error codes, which its client knows.
"""

import hashlib
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azak_assets.sources.failures import (
    Blocked,
    ContractChanged,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
)

INFLATED_BYTES = 256 * 2**20
"""DART's list of companies inflates to about 30 MB."""

_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer as it came. `url` holds no credentials."""

    upstream: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text: UTF-8, or CP949 where it is not UTF-8 (Korean servers still send it undeclared)."""
        return decode(self.body)

    @property
    def notes(self) -> Mapping[str, int]:
        """What had to be mended to read it, counted: {} for plain UTF-8."""
        _, mended = _decoded(self.body)
        return {mended: 1} if mended else {}

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return 200 <= self.status < 300

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, whatever the status; else the failure that fits the status or the body."""
        try:
            parsed = json.loads(self.text)
        except (ValueError, RecursionError) as error:  # lists in lists in lists, thousands deep
            raise self._unreadable(error) from None
        if not isinstance(parsed, dict):
            self.raise_for_status()
            raise ContractChanged(self.upstream, f"a JSON {type(parsed).__name__} came, not an object", url=self.url)
        return parsed

    def unzipped(self) -> bytes:
        """The one file in the body, a zip archive."""
        self.raise_for_status()
        self.raise_if_empty()
        if not self.body.startswith(b"PK"):
            raise ContractChanged(self.upstream, f"no zip archive came: {self.excerpt()}", url=self.url)
        try:
            with zipfile.ZipFile(io.BytesIO(self.body)) as archive, archive.open(archive.namelist()[0]) as file:
                content = file.read(INFLATED_BYTES + 1)
        except RuntimeError as error:  # encrypted, or (NotImplementedError) a compression that Python does not know
            what = f"a zip archive that cannot be opened: {error}"
            raise ContractChanged(self.upstream, what, url=self.url) from None
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, IndexError, EOFError) as error:
            what = f"a damaged zip archive of {len(self.body)} bytes: {error}"
            raise Unavailable(self.upstream, what, url=self.url) from None
        if len(content) > INFLATED_BYTES:
            what = f"a zip archive that inflates to more than {INFLATED_BYTES} bytes"
            raise ContractChanged(self.upstream, what, url=self.url)
        return content

    def raise_for_status(self) -> None:
        """Raise the failure a non-2xx status stands for when the body does not say more."""
        if self.is_success:
            return
        what = f"HTTP {self.status}: {self.excerpt()}"
        retry_after = self._retry_after()
        if self.status == 401:
            raise Unauthorized(self.upstream, what, url=self.url)
        if self.status == 403:
            raise Blocked(self.upstream, what, url=self.url)
        if self.status == 429:
            raise RateLimited(self.upstream, what, url=self.url, retry_after=retry_after)
        if self.status >= 500 or self.status == 408:
            raise Unavailable(self.upstream, what, url=self.url, retry_after=retry_after)
        raise ContractChanged(self.upstream, what, url=self.url)

    def raise_if_empty(self) -> None:
        """Raise `Unavailable` for a success without a body, which is a gateway's accident, not an answer."""
        if not self.body.strip():
            raise Unavailable(self.upstream, f"HTTP {self.status} with an empty body", url=self.url)

    def excerpt(self) -> str:
        """The start of the body on one line, for messages."""
        return " ".join(self.text[:500].split())[:160] or "an empty body"

    def _unreadable(self, error: Exception) -> SourceFailure:
        try:
            self.raise_for_status()
            self.raise_if_empty()
        except SourceFailure as failure:
            return failure
        if self.text.lstrip().startswith("<"):
            return ContractChanged(self.upstream, f"a page came instead of JSON: {self.excerpt()}", url=self.url)
        what = f"broken JSON, {len(self.body)} bytes, {error}: {self.excerpt()}"
        return Unavailable(self.upstream, what, url=self.url)

    def _retry_after(self) -> float | None:
        value = self.headers.get("retry-after", "")
        return float(value) if re.fullmatch(r"\d{1,4}", value, re.ASCII) else None


def decode(body: bytes) -> str:
    """Decode a Korean body: UTF-8, else CP949, else UTF-8 with its broken characters marked."""
    return _decoded(body)[0]


def _decoded(body: bytes) -> tuple[str, str | None]:
    for encoding, mended in (("utf-8-sig", None), ("cp949", "answers in CP949")):
        try:
            return body.decode(encoding), mended
        except UnicodeDecodeError:
            continue
    return body.decode("utf-8", errors="replace"), "answers with broken characters"


def undeclared_xml(body: bytes) -> str:
    """An XML body as text, without the declaration of an encoding: Korean servers declare one and send another."""
    text = decode(body)
    declaration = _XML_DECLARATION.match(text)
    return text[declaration.end() :] if declaration else text


def payload_hash(bodies: list[bytes]) -> str:
    """The sha256 over answers in the order they were asked for; each is hashed first, so that no two splits collide."""
    return hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies)).hexdigest()
