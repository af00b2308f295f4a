"""A local stand-in for every upstream, speaking its wire format, limits and errors.

Independent of the clients it stands in for: it imports `krx` and the tier rule of `universe` and nothing else of ours,
so that one misreading of a contract cannot hide in both. `worlds/` has the data: `seeded` invents them, `recorded`
reads them from a folder, and `world` is the interface of both (`UpstreamData`). `wire/` has the formats: a module an
upstream (`kis*`, `krx_openapi`, `master`, `opendart`, `naver`, `rss`, `pages`, `reddit`, `telegram`, `llm` with
`answer`), its limits (`limits`) and its refusals (`refusals`). `faults` makes answers go wrong as planned; `server`
puts all behind one address.
"""

from azak_assets.sandbox.faults import PlanError, read_plan
from azak_assets.sandbox.server import create_app, open_world, serve, start_in_thread
from azak_assets.sandbox.wire.limits import Limits
from azak_assets.sandbox.worlds.recorded import RecordedDataError, RecordedWorld
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import UpstreamData

__all__ = [
    "Limits",
    "PlanError",
    "RecordedDataError",
    "RecordedWorld",
    "SeededWorld",
    "UpstreamData",
    "create_app",
    "open_world",
    "read_plan",
    "serve",
    "start_in_thread",
]
