"""Homes for the tests of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homes import Home, new_home


@pytest.fixture(scope="module")
def home(recorded_folder: Path, prepared_home: Path) -> Iterator[Home]:
    """A home with both databases and nothing in them."""
    with new_home(recorded_folder, like=prepared_home) as made:
        yield made
