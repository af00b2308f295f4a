"""The data of the sandbox: a seeded market with its news and filings, or recorded files; no wire format."""
