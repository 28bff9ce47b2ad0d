"""DEL of attachments that do not exist any more, or never existed."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import IO_FAILURE
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity
from tests.shim import TornListing
from tests.support import Answer, Plugin, lease, make_pool, names_of_leases, program, temporary_netns, vf_state


def test_an_invalid_prevresult_does_not_stop_a_del(plugin: Plugin, state: Path) -> None:
    """DEL works from the lease alone (D9, contract 4, 27)."""
    assert plugin.run("DEL", plugin.config(prevResult={"cniVersion": "9.9.9", "ips": [5]})).status == 0


@pytest.mark.root
@pytest.mark.parametrize("kind", ["file", "missing", "directory", "fifo", "own", "device", "empty"])
def test_a_path_that_is_no_container_does_not_stop_a_del(plugin: Plugin, state: Path, tmp_path: Path, kind: str) -> None:
    """DEL of an unknown attachment succeeds, whatever the path is (D3 to D8)."""
    paths = {"own": "/proc/self/ns/net", "device": "/dev/null", "empty": ""}
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert plugin.run("DEL", CNI_NETNS=paths.get(kind, str(tmp_path / kind))) == Answer(0, "", "")


@pytest.mark.parametrize("state_dir", ["missing", "file"])
def test_a_del_without_a_state_directory_succeeds(plugin: Plugin, tmp_path: Path, state_dir: str) -> None:
    """Nothing was ever provisioned here: nothing is to be deleted (D3, D11), however often (D2)."""
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert plugin.run("DEL", plugin.config(stateDir=str(tmp_path / state_dir))) == Answer(0, "", "")


def test_a_del_without_a_lease_is_forwarded(plugin: Plugin, state: Path, tmp_path: Path) -> None:
    """The delegate gets every DEL, with our bytes and our variables; its output is not in our answer (D2, I2, I3, P1)."""
    program(plugin.cni_path, "ipam", f"env | grep ^CNI_ | sort >{tmp_path}/environ; cat >{tmp_path}/stdin; echo noise")
    stdin = b" " + plugin.config(ipam={"type": "ipam"}) + b"\n"
    answer = plugin.run("DEL", stdin, CNI_NETNS=None, CNI_ARGS="IgnoreUnknown=1;A=b=c", PATH=os.environ["PATH"])
    assert answer == Answer(0, "", "")
    assert (tmp_path / "stdin").read_bytes() == stdin
    assert (tmp_path / "environ").read_text().splitlines() == [
        "CNI_ARGS=IgnoreUnknown=1;A=b=c",
        "CNI_COMMAND=DEL",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        f"CNI_PATH={plugin.cni_path}",
    ]


def test_a_delegates_error_is_returned(plugin: Plugin, state: Path) -> None:
    """Its code and message are returned, and its standard error is passed on (I6, I9, D12)."""
    program(plugin.cni_path, "ipam", 'echo loud >&2; echo \'{"code":11,"msg":"busy","details":"d"}\'; exit 1')
    answer = plugin.run("DEL", plugin.config(ipam={"type": "ipam"}))
    assert answer.error(11) == "busy d"
    assert answer.err == "loud\n"


@pytest.mark.parametrize("version", ["this version", "an earlier version"])
def test_a_del_does_not_miss_a_lease_that_changes_its_state(plugin: Plugin, shim: Path, tmp_path: Path, version: str) -> None:
    """The ADD ends during the DEL's listing of the leases, which then returns neither name. Versions before 0.2 do not lock."""
    pool = make_pool(plugin.state)
    taken = lease(pool)
    file = f"{pool.leases}/{taken.entry.file}"

    def end_of_the_add() -> None:
        if version == "this version":
            taken.mark(READY)
        else:
            os.rename(file, file.replace(".adding", ".ready"))
        taken.close()

    with TornListing(shim, tmp_path / "torn", end_of_the_add) as torn:
        answer = plugin.run("DEL", changes=dict(torn.environ))
    assert (answer.status, answer.out, names_of_leases(pool)) == (0, "", [])


@pytest.mark.root
def test_a_del_that_cannot_leave_the_container_ends(plugin: Plugin, shim: Path, tmp_path: Path) -> None:
    """In the container's namespace it would take the container for the host. The lease stays, and its addresses reserved."""
    pool = make_pool(plugin.state)
    program(plugin.cni_path, "ipam", f"touch {tmp_path}/asked")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(plugin.cni_path)}, "{}")
    with temporary_netns() as container:
        here = NetnsIdentity(container.path, container.netns.dev, container.netns.ino)
        taken = lease(pool, netns=here, delegate=delegate, before={"x": vf_state()}, mac="02:00:00:00:00:01")
        taken.save(READY)
        taken.close()
        answer = plugin.run("DEL", CNI_NETNS=container.path, LD_PRELOAD=str(shim), SHIM_SETNS="1")
    words = answer.error(IO_FAILURE)
    assert f"cannot leave the network namespace {container.path}: " in words
    assert names_of_leases(pool) == [taken.entry.file.replace(".ready", ".releasing")]
    assert not (tmp_path / "asked").exists()
