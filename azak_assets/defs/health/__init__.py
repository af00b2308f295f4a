"""How the upstreams answer, and what to do where one does not.

Does not belong here: counting calls and failures (`warehouse.calls`).
"""
