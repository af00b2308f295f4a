"""PostgreSQL itself: the embedded server, the databases on it, and the stamp that says whose world one holds.

Does not belong here: tables, reads and writes.
"""
