"""Azak: an orchestrated data-asset platform for Korean equities."""
