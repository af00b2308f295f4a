"""What feeds and hosts said is there for the next process, and is replaced by what they say next."""

from datetime import UTC, datetime

import sqlalchemy as sa

from azak_assets.ports import HostRules
from azak_assets.warehouse.calls.crawl_state import PostgresHosts, PostgresValidators


def test_a_feeds_validators_are_kept_and_replaced_as_a_whole(engine: sa.Engine) -> None:
    store = PostgresValidators(engine)
    assert store.read("mk /rss/1/") == {}
    both = {"if-none-match": '"v1"', "if-modified-since": "Tue, 03 Nov 2026 06:45:00 GMT"}
    store.keep("mk /rss/1/", both)
    store.keep("mk /rss/2/", {"if-none-match": "w"})
    assert PostgresValidators(engine).read("mk /rss/1/") == both
    store.keep("mk /rss/1/", {"if-none-match": '"v2"'})
    assert store.read("mk /rss/1/") == {"if-none-match": '"v2"'}
    assert store.read("mk /rss/2/") == {"if-none-match": "w"}
    store.keep("mk /rss/1/", {})
    assert store.read("mk /rss/1/") == {}


def test_a_hosts_rules_are_kept_and_replaced(engine: sa.Engine) -> None:
    store = PostgresHosts(engine)
    assert store.read("www.mk.co.kr") is None
    at = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    rules = HostRules("User-agent: *\nDisallow: /x", None, at)
    store.keep("www.mk.co.kr", rules)
    assert PostgresHosts(engine).read("www.mk.co.kr") == rules
    refused = HostRules("", "HTTP 403: no\x00thing", at)
    store.keep("www.mk.co.kr", refused)
    assert store.read("www.mk.co.kr") == HostRules("", "HTTP 403: no\ufffdthing", at)
