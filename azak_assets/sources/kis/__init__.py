"""Korea Investment & Securities: `client` speaks to the API; `bars`, `flows` and `master` read what it sends.

KIS field names (`stck_bsop_date`, `acml_vol` …) appear in this package and nowhere else.
"""
