"""DART filings.

Does not belong here: asking DART (`ingest.filings`, `sources.opendart`).
"""
