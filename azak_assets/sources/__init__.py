"""Clients of the upstreams: one module an upstream, over one shared transport, returning typed records.

Import from the module that has it: `records`, `failures`, `collect`, `kis.client`, `opendart`, `naver`, `rss`. What the
clients depend on is declared in `ports`. Nothing here knows Dagster, a database or where a setting comes from.
"""
