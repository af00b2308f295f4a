"""What every call to an upstream shares, in PostgreSQL and on disk: rate limit, tokens, circuit, log, recordings.

Does not belong here: sending a call (`sources.transport`), and the shapes that clients see (`ports`).
"""
