"""One address per article.

Belongs here: the canonical form of an article's URL and the press that it names. Does not belong here: fetching it.
"""

import csv
import re
from functools import cache
from importlib import resources
from urllib.parse import parse_qs, urlsplit, urlunsplit

from w3lib.url import canonicalize_url, url_query_cleaner

# Parameters of how a reader arrived. Only names that never carry an article's identity: `code`, `page`, `sid` or
# `cid` do on some presses' sites, and dropping one of those would merge different articles.
_TRACKING = (
    "dable", "fbclid", "from", "gclid", "igshid", "input", "ntype", "ocid", "ref", "referer", "referrer", "spm",
    "utm_campaign", "utm_content", "utm_id", "utm_medium", "utm_source", "utm_term",
)  # fmt: skip
_NAVER_PATH = re.compile(r"/(?:mnews/)?(?:article|hotissue/article|news/view)(?:/comment)?/(\d{3})/(\d{1,10})(?:/|$)")
_PORTS = {"http": 80, "https": 443}


def canonical_url(url: str) -> str:
    """The address under which an article is known, always https, whatever link led to it.

    Query sorted and percent-encoding normalised (w3lib), fragment and tracking parameters dropped, mobile hosts
    replaced by the desk's (`m.press.co.kr` → `www.press.co.kr`). Every Naver page of an article (finance, mobile, old
    and new reader) becomes `https://n.news.naver.com/mnews/article/{office}/{article}`. Canonical URLs are unchanged
    by it.

    Raises ValueError when `url` is not an absolute http(s) address.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ValueError(
            f"url {url!r} cannot be parsed ({error}); leave it out to identify the article by its title"
        ) from error
    if parts.scheme.lower() not in _PORTS or "." not in host:
        raise ValueError(
            f"url {url!r} is not an absolute http(s) address; leave it out to identify the article by its title"
        )
    naver = _naver_article(host, parts.path, parts.query)
    if naver is not None:
        return naver
    netloc = _desk_host(host)
    if port is not None and port != _PORTS[parts.scheme.lower()]:
        netloc += f":{port}"
    plain = urlunsplit(("https", netloc, parts.path or "/", parts.query, ""))
    cleaned = url_query_cleaner(plain, _TRACKING, remove=True, unique=False)
    rest = urlsplit(cleaned)
    if not (rest.path.strip("/") or rest.query) or parts.fragment.startswith(("/", "!")):
        raise ValueError(
            f"url {url!r} is a home page or differs from others only in its fragment, so that many articles share it; "
            "leave it out to identify the article by its title"
        )
    return str(canonicalize_url(cleaned, keep_blank_values=True))


def press_of(url: str) -> str | None:
    """The press behind a canonical URL: by Naver's office number or by host (`data/presses.csv`), else None."""
    parts = urlsplit(url)
    offices, hosts = _presses()
    naver = _NAVER_PATH.match(parts.path) if parts.hostname == "n.news.naver.com" else None
    if naver:
        return offices.get(naver[1])
    host = parts.hostname or ""
    while host:
        if host in hosts:
            return hosts[host]
        host = host.partition(".")[2]
    return None


def _naver_article(host: str, path: str, query: str) -> str | None:
    if host != "naver.com" and not host.endswith(".naver.com"):
        return None
    found = _NAVER_PATH.search(path)
    if found:
        office, article = found[1], found[2]
    else:
        values = parse_qs(query)
        office = (values.get("office_id") or values.get("oid") or [""])[0]
        article = (values.get("article_id") or values.get("aid") or [""])[0]
    if not (office.isdecimal() and article.isdecimal() and len(office) <= 3 and len(article) <= 10):
        return None
    return f"https://n.news.naver.com/mnews/article/{office.zfill(3)}/{article.zfill(10)}"


def _desk_host(host: str) -> str:
    prefix, _, rest = host.partition(".")
    if prefix not in {"m", "mobile"} or "." not in rest:
        return host
    labels = rest.split(".")
    is_registered_name = len(labels) == 2 or (len(labels) == 3 and labels[1] in {"co", "or", "go", "ne", "re", "pe"})
    return f"www.{rest}" if is_registered_name else rest


@cache
def _presses() -> tuple[dict[str, str], dict[str, str]]:
    """(office number → press, host → press)."""
    text = resources.files("azak_assets.text").joinpath("data/presses.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {row["office_id"]: row["press"] for row in rows}, {row["host"]: row["press"] for row in rows if row["host"]}
