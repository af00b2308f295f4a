"""Collecting: a round of requests against a source, typed records to a frame, the frame into its table.

Belongs here: how a feed is collected, so that a test or a command can collect it without Dagster. Does not belong here:
wire formats (`sources`), SQL (`warehouse`), when something runs and how the UI shows it (`defs`).
"""
