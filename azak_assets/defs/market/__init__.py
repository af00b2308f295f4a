"""Prices: daily, index and minute bars."""
