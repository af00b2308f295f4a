"""Scores: what the market did after a forecast, and how good the forecast was.

Belongs here: entry and exit of a forecast, outcome classes, proper scores, the classic score and the versioned
evaluation rows. Does not belong here: making forecasts (`forecast`), daily aggregates (dbt's `daily_performance` and
`evaluation_history`), and when to evaluate (`defs`).

Other rooms import from the modules of this package by name, e.g. `from azak_assets.scoring.evaluate import evaluate`:
loading the package itself costs nothing.
"""
