"""The `azak` command. Each subcommand is declared here and done in a module beside.

Imports stay inside the commands: `azak --help` answers at once, and Dagster alone costs seconds. Help is plain text:
typer's formatted help imports Markdown and a syntax highlighter, twice the rest of the command.

Does not belong here: what a command does.
"""

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Azak: the data-asset platform for Korean equities.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db = typer.Typer(
    help="The database: migrate, look, roll back, address, stop, its documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(db, name="db")

Replay = Annotated[
    Path | None,
    typer.Option(
        help="Folder of recorded data that the sandbox plays instead of its own market.", exists=True, file_okay=False
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the sandbox's own market.", min=0)]
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]

WIDTH_OF_LOGS = 140
BROKEN_PIPE = 128 + 13


def _console(*, stderr: bool = False) -> "Console":
    """Standard output, or the error stream, for people."""
    from rich.console import Console  # noqa: PLC0415 - `azak --help` prints without

    if stderr:
        return Console(stderr=True, highlight=False)
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_LOGS)


def main() -> None:
    """Run the command; an expected failure is one sentence on stderr and exit code 1, never a traceback."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read us has seen enough (`azak doctor | head`). Python flushes once more when it ends: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        from rich.markup import escape  # noqa: PLC0415

        from azak_assets.cli.failures import as_typed, sentences  # noqa: PLC0415

        lines = sentences(error)
        if not lines:
            raise
        errors = _console(stderr=True)
        for sentence in lines:
            errors.print(f"[red]✗[/] {escape(as_typed(sentence))}", soft_wrap=True)
        sys.exit(getattr(error, "exit_code", 1))


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.", min=1, max=65535)] = 3000,
    sessions: Annotated[
        int, typer.Option(help="How many of the newest sessions to load if they are missing.", min=0, max=250)
    ] = 20,
    replay: Replay = None,
    seed: Seed = 1,
) -> None:
    """Start everything, load the newest sessions and open the Dagster UI; Ctrl-C stops it.

    Example: `azak up`, or `azak up --port 3001 --sessions 5`.
    """
    from azak_assets.cli.up import up as start  # noqa: PLC0415

    start(_console(), port=port, sessions=sessions, replay=replay, seed=seed)


@app.command()
def ui(
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            "-w",
            help="Workspace file of the code locations, if not Azak's.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 inside a container.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port of the UI.", min=1, max=65535)] = 3000,
    read_only: Annotated[bool, typer.Option("--read-only", help="Dagster's read-only mode.")] = False,
    read_only_port: Annotated[
        int | None, typer.Option(help="Also serve the UI on this port, in read-only mode.", min=1, max=65535)
    ] = None,
) -> None:
    """Serve the Dagster UI alone, guarded: pages of other sites can neither read it nor start anything in it.

    Example: `azak ui --port 3001 --read-only`. It answers as localhost and as what AZAK_UI_ORIGINS names. `azak up`
    starts it together with everything else.
    """
    from azak_assets.cli.ui import serve  # noqa: PLC0415

    serve(_console(), workspace=workspace, host=host, port=port, read_only=read_only, read_only_port=read_only_port)


@app.command()
def run(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session (KST date).")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session (KST date).")],
    replay: Replay = None,
    seed: Seed = 1,
) -> None:
    """Materialize every asset for a range of sessions, without the UI, and print what came of it.

    Example: `azak run --from 2026-11-02 --to 2026-11-06`, or with `--replay DIR` over recorded data.
    """
    from azak_assets.cli.run import run as materialize  # noqa: PLC0415

    if not materialize(_console(), first=first.date(), last=last.date(), replay=replay, seed=seed):
        raise typer.Exit(1)


@app.command()
def sandbox(  # noqa: PLR0917 - typer calls it by name
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8900,
    replay: Replay = None,
    seed: Seed = 1,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 inside a container.")] = "127.0.0.1",
    faults: Annotated[
        Path | None,
        typer.Option(help="Plan of faults (YAML) to rehearse failures with.", exists=True, dir_okay=False),
    ] = None,
    until_input_closes: Annotated[bool, typer.Option("--until-input-closes", hidden=True)] = False,
) -> None:
    """Serve every upstream on 127.0.0.1: a seeded market, or recorded data with --replay.

    Example: `azak sandbox --port 8900`, then `AZAK_SANDBOX_URL=http://127.0.0.1:8900 azak run …`. With `--faults
    plan.yml` answers go wrong as planned, for a count or a time: `[{path: /opendart, kind: "500", times: 3}]`; the
    runbook has more. `curl http://127.0.0.1:8900/sandbox/faults` tells what was met.
    """
    from azak_assets.sandbox import PlanError, read_plan, serve  # noqa: PLC0415

    if until_input_closes:
        from azak_assets.cli.processes import end_when_input_closes  # noqa: PLC0415

        end_when_input_closes()
    try:
        serve(host, port, replay, seed, read_plan(faults) if faults else [])
    except PlanError as error:
        from azak_assets.cli.environment import CannotStart  # noqa: PLC0415

        raise CannotStart(str(error)) from error
    except OSError as error:
        from azak_assets.cli.environment import CannotStart  # noqa: PLC0415

        raise CannotStart(f"Cannot listen on {host}:{port} ({error.strerror}): choose another --port.") from error


@app.command()
def env() -> None:
    """Print the variables that a plain `dagster dev` needs.

    Example: `eval "$(azak env)" && dagster dev`.
    """
    from azak_assets.cli.environment import environment, ready_databases  # noqa: PLC0415
    from azak_assets.settings import Settings  # noqa: PLC0415

    settings = Settings()
    settings.azak_home.mkdir(parents=True, exist_ok=True)
    variables = environment(settings, ready_databases(settings, _console(stderr=True)))
    for name, value in sorted(variables.items()):
        print(f"export {name}={shlex.quote(value)}")  # noqa: T201 - for the shell, not for people


@app.command()
def doctor(
    sources: Annotated[
        bool, typer.Option("--sources", help="Ask each configured upstream one cheap question instead.")
    ] = False,
) -> None:
    """Show every setting, the mode, which upstream answers, what contradicts the calendar, disk and versions.

    Example: `azak doctor`, or `azak doctor --sources`.
    """
    if sources:
        from azak_assets.cli.ask_sources import ask_sources  # noqa: PLC0415

        if not ask_sources(_console()):
            raise typer.Exit(1)
        return
    from azak_assets.cli.doctor import examine  # noqa: PLC0415

    if not examine(_console()):
        raise typer.Exit(1)


@app.command()
def replay_payloads(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day of answers (KST).")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day of answers (KST).")],
) -> None:
    """Rebuild the raw tables from the answers that were kept on these days, without asking any upstream.

    Example: `azak replay-payloads --from 2026-11-20 --to 2026-11-26`.
    """
    from azak_assets.cli.replay_payloads import replay_payloads as again  # noqa: PLC0415

    if not again(_console(), first=first.date(), last=last.date()):
        raise typer.Exit(1)


@app.command()
def predict(
    code: Annotated[str, typer.Argument(help="Six-character stock code, for example 005930.")],
    replay: Replay = None,
    seed: Seed = 1,
) -> None:
    """Ask every configured model about the newest article on a stock, now.

    Example: `azak predict 005930`.
    """
    from azak_assets.cli.predict import predict as ask  # noqa: PLC0415

    ask(_console(), code, replay=replay, seed=seed)


def _url() -> str:
    """The URL of Azak's database, which exists and answers."""
    from azak_assets.settings import Settings  # noqa: PLC0415
    from azak_assets.warehouse.postgres.database import ensure_databases  # noqa: PLC0415

    settings = Settings()
    own = settings.azak_database_url.get_secret_value() if settings.azak_database_url else None
    return ensure_databases(settings.azak_home, own).azak


@db.command()
def migrate() -> None:
    """Bring the schemas raw, text, ml and ops to the newest version. Example: `azak db migrate`."""
    from azak_assets.cli.environment import ready_databases  # noqa: PLC0415
    from azak_assets.settings import Settings  # noqa: PLC0415

    ready_databases(Settings(), _console())


@db.command()
def status() -> None:
    """Show the server, the world, the current migration and the pending ones. Example: `azak db status`."""
    from azak_assets.warehouse.postgres import database, stamp  # noqa: PLC0415
    from azak_assets.warehouse.postgres.address import parse_url  # noqa: PLC0415

    url, console = _url(), _console()
    state = database.status(url)
    console.print(f"server     {parse_url(url).render_as_string()}", soft_wrap=True)
    console.print(f"world      {(stamp.current(url) if state.current else None) or 'none yet'}")
    console.print(f"revision   {state.current or 'never migrated'} (newest {state.head})")
    for pending in state.pending:
        console.print(f"pending    {pending}")


@db.command()
def rollback(
    revision: Annotated[str, typer.Argument(help="Revision to go back to; -1 for one step.")] = "-1",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the rows of the tables that go are lost.")] = False,
) -> None:
    """Take the newest migration back, with the tables it made and their rows. Example: `azak db rollback --yes`."""
    from alembic.util import CommandError  # noqa: PLC0415

    from azak_assets.cli.environment import CannotStart  # noqa: PLC0415
    from azak_assets.warehouse.postgres import database  # noqa: PLC0415

    url = _url()
    if not yes:
        state = database.status(url)
        typer.confirm(f"Take back {state.current} and lose the rows of every table it made?", abort=True)
    try:
        database.downgrade(url, revision)
    except CommandError as error:
        at = database.current(url) or "the beginning"
        raise CannotStart(
            f"Cannot go from {at} back to {revision} ({error}): `azak db status` says where it is."
        ) from error
    _console().print(
        f"[green]✓[/] at {database.current(url) or 'the beginning: nothing of Azak is left in the database'}"
    )


@db.command()
def url() -> None:
    """Print the `postgresql+psycopg://` line of the database. Example: `psql "$(azak db url | sed s/+psycopg//)"`."""
    print(_url())  # noqa: T201 - for the shell


@db.command()
def stop() -> None:
    """Stop the embedded server of this AZAK_HOME. Example: `azak db stop`."""
    from azak_assets.settings import Settings  # noqa: PLC0415
    from azak_assets.warehouse.postgres import server  # noqa: PLC0415

    home = Settings().azak_home
    _console().print("[green]✓[/] stopped" if server.stop(home) else f"no server of {home} was running")


@db.command()
def docs() -> None:
    """Write docs/erd.md and docs/dictionary.md from the catalogue of a new, empty database. Example: `azak db docs`."""
    from azak_assets.cli.documents import write  # noqa: PLC0415

    write(_console())
