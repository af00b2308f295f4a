"""Where the files of `docker/` are and how a Dockerfile is read.

Belongs here: paths and parsing that fixtures and tests share. Does not belong here: rules; they are in the tests.
"""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
IMAGE_ROOT = "/opt/azak"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, continuation lines joined: RUN, COPY, …"""

    name: str
    text: str


def copies(dockerfile: list[Instruction]) -> list[tuple[list[str], str]]:
    """(sources, destination) of every COPY; both as written."""
    words = [one.text.split() for one in dockerfile if one.name == "COPY"]
    return [(parts[:-1], parts[-1]) for parts in words]
