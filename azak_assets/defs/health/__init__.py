"""News, duplicates and company mentions."""
