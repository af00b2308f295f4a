"""Korea Investment & Securities: `client` is one account at the API, `services` ask, `gateway` sends.

`bars`, `minutes`, `quotes`, `flows`, `company` and `master` read what comes back, without a network.
KIS field names (`stck_bsop_date`, `acml_vol` …) appear in this package and nowhere else.
"""
