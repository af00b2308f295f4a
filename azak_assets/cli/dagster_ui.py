"""Dagster's web server as ASGI applications over one workspace: the whole UI, and the same in read-only mode.

Belongs here: the only use of Dagster's internals for serving (its own `dagster_webserver.cli` has no public form that
gives the application away); `tests/cli/test_ui.py` tries them. Does not belong here: sockets and the guard (`ui`).
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

LIVE_DATA_POLL_MS = 2000
STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_OVERFLOW = 15_000, 3600, 20
"""The defaults of `dagster-webserver`."""


class _ReadOnlyWebserver(DagsterWebserver[WorkspaceProcessContext, WorkspaceRequestContext]):
    """Every request in Dagster's read-only mode, over a workspace that is shared with the whole UI.

    With a workspace of its own it would load the code location a second time and could not reload it.
    """

    def _make_request_context(self, conn: HTTPConnection) -> WorkspaceRequestContext:
        return WorkspaceRequestContext(
            instance=self._process_context.instance,
            current_workspace=self._process_context.get_current_workspace(),
            process_context=self._process_context,
            version=self._process_context.version,
            source=conn,
            read_only=True,
        )


@contextmanager
def dagster_apps(
    instance: dg.DagsterInstance, workspace: Path | None, modes: Collection[bool]
) -> Iterator[list[ASGIApp]]:
    """Dagster's applications, unguarded, one for each of ``modes`` (whether it is read-only), until the block ends.

    Args:
        instance: Dagster's instance, whose storage the applications show.
        workspace: the workspace file with the code locations; None for none.
        modes: for each application whether it is read-only.
    """
    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_OVERFLOW)
    target = WorkspaceFileTarget(paths=[str(workspace)]) if workspace is not None else None
    with WorkspaceProcessContext(instance, version=__version__, workspace_load_target=target) as loaded:
        yield [_app(loaded, read_only=read_only) for read_only in modes]


def _app(loaded: WorkspaceProcessContext, *, read_only: bool) -> ASGIApp:
    made: type[DagsterWebserver[Any, Any]] = _ReadOnlyWebserver if read_only else DagsterWebserver
    return made(loaded, live_data_poll_rate=LIVE_DATA_POLL_MS).create_asgi_app()
