"""Processes as /proc shows them."""

import os
import subprocess
import sys

from cni_sriov_bond.oci import processes
from tests.oci.fakes import ROOTLESS, Container, wait
from tests.support import REPOSITORY


def test_a_process_has_a_start_time_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "100"])
    started = processes.start_time(child.pid)
    assert started > 0
    assert processes.start_time(child.pid) == started
    child.kill()
    wait(lambda: processes.start_time(child.pid) == 0)  # a zombie until it is waited for
    child.wait()
    assert processes.start_time(child.pid) == 0
    assert processes.start_time(0) == 0


def test_the_processes_of_a_namespace(container: Container) -> None:
    namespace = container.open()
    namespace.close()
    assert processes.in_namespace(namespace) == [container.pid]
    container.kill()
    assert processes.in_namespace(namespace) == []


def test_a_user_namespace_is_rootless() -> None:
    """A container of this machine may be one, but its maps of another namespace are."""
    code = "from cni_sriov_bond.oci import processes; print(processes.is_rootless())"
    in_namespace = [*ROOTLESS, sys.executable, "-c", code]
    assert subprocess.run(in_namespace, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout == "True\n"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        assert processes.is_rootless() == (file.read().split() != ["0", "0", str(2**32 - 1)])
    assert os.geteuid() == 0
