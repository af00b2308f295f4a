"""Clients of the upstreams: one module an upstream, over one shared transport, returning typed records.

Import from the module that has it: `protocols`, `records`, `failures`, `collect`, `kis.client`, `opendart`, `naver`,
`rss`. Nothing here knows Dagster, a database or where a setting comes from.
"""
