"""The files of `docker/`, read, and the tree that the image would hold, made from the Dockerfile's own COPY lines.

Belongs here: reading. Does not belong here: rules and processes; they are in the tests.
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker_files import DOCKER, REPOSITORY, Instruction, copies


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file, anchors and merges resolved, variables not."""
    content: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="session")
def dockerfile() -> list[Instruction]:
    """The instructions of the Dockerfile in their order."""
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in lines if not line.lstrip().startswith("#")))
    words = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name, text.strip()) for name, text in words]


@pytest.fixture(scope="session")
def image_environment(dockerfile: list[Instruction]) -> dict[str, str]:
    """What the image sets with ENV."""
    pairs = [pair for one in dockerfile if one.name == "ENV" for pair in shlex.split(one.text)]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(scope="session")
def image_tree(dockerfile: list[Instruction], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's `/opt/azak` without the virtual environment: what the COPY lines bring, and nothing else."""
    tree = tmp_path_factory.mktemp("image")
    ignored = shutil.ignore_patterns("__pycache__", "target", "logs", ".user.yml")
    for sources, destination in copies(dockerfile):
        for source in sources:
            origin = REPOSITORY / source
            into = tree / destination / origin.name if destination.endswith("/") else tree / destination
            into.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, into, ignore=ignored)
            else:
                shutil.copy2(origin, into)
    return tree
