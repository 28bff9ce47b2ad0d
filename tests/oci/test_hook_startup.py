"""The cost of a hook's start, which every start and stop of a container pays."""

import re
import subprocess
import sysconfig
from pathlib import Path

HOOK = "usr/local/sbin/sriov-bond-hook"
# Instructions of a poststop of a container that has nothing attached: all imports, and no work.
MOST_INSTRUCTIONS = {"3.11": 90_000_000, "3.13": 105_000_000}[sysconfig.get_python_version()]


def test_a_poststop_without_work_is_quick(frozen: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={tmp_path}/%p",
            frozen / HOOK,
            "poststop",
            "--state-dir",
            tmp_path,
        ],
        input='{"id": "c1"}',
        capture_output=True,
        text=True,
        check=True,
    )
    (collected,) = re.findall(r"Collected : (\d+)", done.stderr)
    assert int(collected) < MOST_INSTRUCTIONS
