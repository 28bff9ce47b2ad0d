"""The style and the types of all Python files: what `./dev lint` shows is a failure of the tests too."""

import subprocess
import sys

import pytest

from tests.support import REPOSITORY


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_all_files_pass(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
