"""The host that the tests of doctor break."""

from pathlib import Path

import pytest

from tests.doctor.fake_host import FakeHost


@pytest.fixture
def fake(tmp_path: Path) -> FakeHost:
    """Return a sound host."""
    root = tmp_path / "root"
    root.mkdir()
    return FakeHost(root)
