"""PostgreSQL: the tables and their migrations, the one way to write and the one way to read the past, the server.

Does not belong here: asking an upstream (`sources`), and what rows mean to a market (`scoring`, `forecast`).
"""
