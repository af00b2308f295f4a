"""Pitfall 1: Dagster's packages are one family, installed and locked; a half bump fails here and not in a run."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

CORE = ("dagster", "dagster-graphql", "dagster-pipes", "dagster-shared", "dagster-webserver")
LIBRARIES = ("dagster-dbt", "dagster-postgres")


def installed(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version(name))[:3])


def test_core_is_one_release() -> None:
    assert installed("dagster")[:2] == (1, 13)
    assert {name: installed(name) for name in CORE} == dict.fromkeys(CORE, installed("dagster"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_are_of_the_same_release(library: str) -> None:
    """Core 1.13.N belongs to libraries 0.29.N; the wheels pin each other, so a mix cannot be installed again."""
    assert installed(library) == (0, 29, installed("dagster")[2])


@pytest.mark.parametrize("lock", ["base.lock", "dev.lock"])
def test_locks_hold_what_is_installed(lock: str) -> None:
    text = (REPOSITORY / "requirements" / lock).read_text()
    locked = dict(re.findall(r"^([\w-]+)==([^\s;\\]+)", text, flags=re.MULTILINE))
    family = (*CORE, *LIBRARIES, "dbt-core", "dbt-postgres", "grpcio-health-checking", "sqlalchemy")
    assert {name: locked.get(name) for name in family} == {name: version(name) for name in family}


def test_known_bad_releases_stay_out() -> None:
    assert installed("dbt-core")[:2] == (1, 11), "1.12 downloads a parser from github.com while it is installed"
    assert installed("grpcio-health-checking") < (1, 82), "1.82.0 crashes at import"
