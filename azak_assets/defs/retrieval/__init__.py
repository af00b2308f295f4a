"""Vectors of the news and the index over them."""
