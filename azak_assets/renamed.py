"""Names that an earlier version gave to schedules and jobs, and that the history of a home still carries.

Belongs here: old name → new name, and from which version on a row may go. Does not belong here: using them;
`cli.renames` moves the state of schedules, `defs.catchup` and `cli.replay_payloads` read both names of a job.
"""

SCHEDULES = {
    "morning_after": "correct_prices",
    "evening": "after_hours",
    "exchange_told": "reconcile_with_exchange",
}
"""Renamed in 0.2; may go in 0.4, when no home of 0.1 is started any more."""

JOBS = {
    "evening": "after_hours",
    "witness": "reconciliation",
}
"""Renamed in 0.2; may go in 0.4: by then catch-up looks back on no run of an old name."""


def names_of_job(name: str) -> list[str]:
    """The name of a job and its earlier ones."""
    return [name, *(old for old, new in JOBS.items() if new == name)]
