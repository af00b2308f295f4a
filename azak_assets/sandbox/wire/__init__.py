"""The formats of the upstreams, a module an upstream: paths, field names, units, limits and errors; no data.

Does not belong here: what happened in a world (`worlds`).
"""
