"""Forecasts: what several models say about the impact of one article on one stock.

Belongs here: the list of models, the versioned prompts, the context a model may see (as-of reads alone), local
baselines, calls to chat models, the ledger of those calls, and the append-only predictions. Does not belong here:
what became of a forecast (`scoring`), when to forecast (`defs`), and settings: keys and budgets arrive as arguments.

Other rooms import from the modules of this package by name, e.g. `from azak_assets.forecast.predict import
forecast_articles`: loading the package itself costs nothing.
"""
