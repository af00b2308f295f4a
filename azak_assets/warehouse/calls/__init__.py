"""What every call to an upstream shares, in PostgreSQL and on disk: rate limit, tokens, circuit, log, recordings."""
