"""The floor under the coverage: a run that falls below it fails, whatever its tests say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

FILES = {
    "pyproject.toml": """
[tool.coverage.run]
source = ["paper"]
data_file = "measured/data"
parallel = true
[tool.coverage.report]
fail_under = {floor}
""",
    "conftest.py": """
from pathlib import Path
import coverage
from tests.measured import Floor

def pytest_configure(config):
    config.pluginmanager.register(Floor(coverage.Coverage.current(), Path(__file__).with_name("pyproject.toml")))
""",
    # Three of four lines are run.
    "paper.py": "def half(way):\n    if way:\n        return 1\n    return 2\n",
    "test_paper.py": "import paper\ndef test_it():\n    assert paper.half(True) == 1\n",
}


@pytest.mark.parametrize(("floor", "status", "begins"), [(75, 0, "coverage"), (76, 1, "FAILED: coverage")])
def test_a_run_below_the_floor_fails(tmp_path: Path, floor: int, status: int, begins: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("{floor}", str(floor)))
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    *_, words, closing = done.stdout.splitlines()
    assert words == f"{begins} by the host tests: 75 % of 4 lines, the floor is {floor} %; least: paper 75 %"
    assert "1 passed in" in closing
