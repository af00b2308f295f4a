"""Questions to the GraphQL API of Dagster's webserver.

Belongs here: asking, once or patiently, and the sentence where no answer comes. Does not belong here: what is asked
(`up`, `first_load`).
"""

import time
from typing import Any

import httpx

from azak_assets.cli.environment import CannotStart
from azak_assets.cli.processes import Child

PATIENCE_S = 300
"""How long a question is repeated while Dagster does not answer: a machine that loads prices is a busy one."""
POLL_S = 1.0
CODE_LOCATION = "azak"


class NoAnswer(CannotStart):
    """The webserver does not answer."""


def ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """One question to the webserver's GraphQL API.

    Raises:
        NoAnswer: it does not answer. CannotStart: it answers with an error.
    """
    try:
        response = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    except httpx.TransportError as error:
        raise NoAnswer(f"Dagster does not answer at {url} ({error}): look at its logs and start again.") from error
    try:
        answer = response.json()
    except ValueError as error:
        raise CannotStart(f"{url} answered HTTP {response.status_code}, which is no GraphQL: is it Dagster?") from error
    if answer.get("errors"):
        raise CannotStart(f"Dagster refused a question: {answer['errors'][0]['message']}")
    return dict(answer["data"])


def ask_patiently(url: str, query: str, children: list[Child], **variables: Any) -> dict[str, Any]:
    """One question to a Dagster that is busy: a question without an answer is repeated while its processes live.

    Raises:
        CannotStart: a process has ended, or there was no answer within `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask(url, query, **variables)
        except CannotStart:
            if time.monotonic() > deadline or any(child.has_ended for child in children):
                raise
            time.sleep(POLL_S)
