"""DART filings."""
