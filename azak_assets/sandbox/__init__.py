"""A local stand-in for every upstream, speaking its wire format, limits and errors.

Independent of the clients it stands in for: it imports `krx` and nothing else of ours, so that one misreading of a
contract cannot hide in both. What the data are lives in a world (`seeded`, `replay`); how they go over the wire lives
in one module an upstream (`kis` with `kis_after_close` and `kis_company`, `krx_openapi`, `master`, `opendart`, `naver`,
`rss`, `pages`, `reddit`, `telegram`, `llm`), how often it may be asked in `limits`, how it fails in `refusals`, and
when somebody wants it to in `faults`; `server` puts all behind one address.
"""

from azak_assets.sandbox.faults import PlanError, read_plan
from azak_assets.sandbox.server import create_app, open_world, serve, start_in_thread
from azak_assets.sandbox.wire.limits import Limits
from azak_assets.sandbox.worlds.recorded import ReplayError, ReplayWorld
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import World

__all__ = [
    "Limits",
    "PlanError",
    "ReplayError",
    "ReplayWorld",
    "SeededWorld",
    "World",
    "create_app",
    "open_world",
    "read_plan",
    "serve",
    "start_in_thread",
]
