"""Prices and what comes with them: daily, index and minute bars, investor flows, after-hours prices, breadth."""
