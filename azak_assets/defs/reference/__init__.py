"""Reference data: sessions, listed stocks, company codes.

Does not belong here: the calendar itself (`krx`) and the followed stocks (`universe`).
"""
