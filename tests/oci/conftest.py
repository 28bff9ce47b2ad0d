"""Fixtures of the tests of the OCI hook."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci import fakes


@pytest.fixture
def host(tmp_path: Path) -> Iterator[fakes.Host]:
    """A host with plugins, networks, and the hook's state."""
    with fakes.host(tmp_path) as created:
        yield created


@pytest.fixture
def container() -> Iterator[fakes.Container]:
    """A running container."""
    with fakes.container() as created:
        yield created
