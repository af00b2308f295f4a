"""Prices and what comes with them: daily, index and minute bars, investor flows, after-hours prices, breadth.

Does not belong here: collecting them (`ingest`) and the broker's formats (`sources.kis`).
"""
