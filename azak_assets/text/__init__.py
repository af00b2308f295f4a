"""Text: the words of an article, which other article it repeats, which stocks it names, and what it resembles.

Cleaning, canonical URLs, identities, duplicates, company mentions, embedders and the vector index. Plain Python over
strings, frames and arrays: nothing here fetches an article (`sources`) or keeps a row (`warehouse`), and neither is
imported. Other rooms import from the modules of this package by name, e.g. `from azak_assets.text.mentions import
MentionFinder`.
"""
