"""What a test run fetches and builds: what the selected tests use, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import REPOSITORY


def test_quick_tests_need_nothing_of_the_lab(tmp_path: Path) -> None:
    """With an empty cache, no kernel, no QEMU and no Go programs are fetched for tests that do not use them."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not lab", "tests/test_jsontext.py", "tests/lab"]
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "deselected" in done.stdout
    made = {path.name for path in (tmp_path / "sriov-bond").iterdir()}
    assert made <= {"lab.lock"}
