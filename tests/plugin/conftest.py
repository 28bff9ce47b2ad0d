"""Fixtures of the tests of the verbs."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Plugin, contents, make_pool, plugin_at

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    """The plugin from the sources, and as it is built."""
    return plugin_at(None if request.param == "module" else request.getfixturevalue("frozen"), tmp_path)


@pytest.fixture
def state(plugin: Plugin) -> "Iterator[Path]":
    """A state directory with one pool, which must be as it was when the test is over."""
    make_pool(plugin.state, "db", 2)
    before = contents(plugin.state)
    yield plugin.state
    assert contents(plugin.state) == before
