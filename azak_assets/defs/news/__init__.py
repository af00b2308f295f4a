"""News, duplicates and company mentions.

Does not belong here: asking publishers (`ingest.news`), and the rules of duplicates and mentions (`text`).
"""
