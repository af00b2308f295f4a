"""Vectors of the news and the index over them.

Does not belong here: embedding and searching (`text`), and what a forecast retrieves (`forecast.context`).
"""
