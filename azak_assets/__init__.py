"""Azak: an orchestrated data-asset platform for Korean equities.

Does not belong here: code; each room below says what it holds, and `docs/house.md` shows them all.
"""
