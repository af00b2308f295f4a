"""Reference data: sessions, listed stocks, company codes."""
