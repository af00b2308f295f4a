"""Homes for the tests of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homes import Home, new_home


@pytest.fixture(scope="module")
def home(recorded_folder: Path) -> Iterator[Home]:
    """An empty home."""
    with new_home(recorded_folder) as made:
        yield made
