"""PostgreSQL: the tables and their migrations, the one way to write and the one way to read the past, the server."""
