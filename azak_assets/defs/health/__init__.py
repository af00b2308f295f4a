"""How the upstreams answer, and what to do where one does not."""
