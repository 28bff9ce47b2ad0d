"""What no poststop came for is found and finished."""

import json
import os
import subprocess
from pathlib import Path

from cni_sriov_bond.oci import api, pin
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import Site
from cni_sriov_bond.oci.unfinished import Finding, finish
from tests.measured import command
from tests.oci import fakes
from tests.oci.fakes import Container, Host


def attach(host: Host, container: Container, container_id: str = "c1", ifname: str = "eth0", pid: int | None = None) -> None:
    request = Request("db", ifname=ifname)
    api.attach(request, container_id, container.path, container.pid if pid is None else pid, site=host.site)


def messages(host: Host) -> list[str]:
    return [f"{finding.state} {finding.subject}: {finding.message}" for finding in finish(host.site)]


def test_a_container_that_lives_is_left_alone(host: Host, container: Container) -> None:
    host.network()
    attach(host, container)
    assert finish(host.site) == []
    assert len(api.attachments(site=host.site)) == 1


def test_a_container_that_ended_is_detached(host: Host) -> None:
    host.network()
    with fakes.container() as container:
        attach(host, container)
        attach(host, container, ifname="eth1")
        attach(host, container, "c2", pid=0)
    ended = f"detached, because the container's process {container.pid} has ended"
    assert sorted(messages(host)) == [
        f"done container c1 eth0: {ended}",
        f"done container c1 eth1: {ended}",
        f"done container c2 eth0: detached, because {container.path} is gone",
    ]
    assert {call.netns for call in host.calls() if call.verb == "DEL"} == {host.store.pin("c1"), host.store.pin("c2")}
    assert host.left() == []


def test_a_reboot_and_a_pending_del(host: Host, container: Container) -> None:
    host.network()
    for container_id in ("c1", "c2"):
        attach(host, container, container_id)
    first, second = sorted(api.attachments(site=host.site))
    host.store.write(first._replace(boot_id="before"))
    host.store.make_pending(second)
    assert sorted(messages(host)) == [
        "done container c1 eth0: detached, because the host was rebooted",
        "done container c2 eth0: detached, because its DEL was pending",
    ]
    assert host.left() == []


def test_what_fails_is_reported_and_repeated(host: Host) -> None:
    host.network()
    with fakes.container() as container:
        attach(host, container)
    host.refuse("DEL", "first", 7, "stuck")
    [finding] = finish(host.site)
    assert finding.failed
    assert (finding.container_id, finding.ifname, finding.network) == ("c1", "eth0", "db")
    assert "cannot be detached, though the container's process" in finding.message
    assert "stuck" in finding.message
    host.obey("DEL", "first")
    assert messages(host) == ["done container c1 eth0: detached, because its DEL was pending"]


def test_a_container_that_a_hook_works_on_is_left_alone(host: Host) -> None:
    host.network()
    with fakes.container() as container:
        attach(host, container)
    with host.store.locked("c1", 1):
        assert finish(host.site) == []
    assert len(finish(host.site)) == 1


def test_a_pin_without_a_record_is_removed(host: Host) -> None:
    """Unless its namespace has a process."""
    host.site.make_directories()
    with fakes.container() as container:
        namespace = container.open()
        pin.create(host.store.pin("c1"), namespace)
        namespace.close()
        assert finish(host.site) == []
    assert messages(host) == [f"done containers: the pin {host.store.pin('c1')} of a container that is gone was removed"]
    assert host.left() == []


def test_a_damaged_record_is_removed_once_its_container_has_ended(host: Host) -> None:
    host.network()
    with fakes.container() as container:
        attach(host, container)
        [file] = Path(host.site.directory("attachments")).iterdir()
        file.write_text("{")
        [finding] = finish(host.site)
        assert finding == Finding(
            "",
            "",
            "",
            "failed",
            f"the record of an attachment {file} is damaged; `sriov-bondctl gc` removes it, once the container has ended",
        )
    done = messages(host)
    assert [line.partition(":")[0] for line in done] == ["done containers"] * 2
    assert host.left() == []


def test_leftovers_of_killed_processes_are_removed(host: Host) -> None:
    host.site.make_directories()
    for name in (f"attachments/.k.{1 << 22}", f"results/.r.{1 << 22}", "locks/abc"):
        (Path(host.site.state_dir) / name).touch()
    (Path(host.site.state_dir) / f"pending/.mine.{os.getpid()}").touch()
    assert finish(host.site) == []
    assert host.left() == [f"pending/.mine.{os.getpid()}"]


def test_a_host_without_a_hook_has_nothing(tmp_path: Path) -> None:
    assert finish(Site(str(tmp_path / "none"))) == []
    assert not (tmp_path / "none").exists()


def test_gc_of_sriov_bondctl_finishes_and_reports_it(host: Host) -> None:
    """Beside the state directory of its pools. What cannot be finished is status 1."""

    def gc(*options: str) -> "subprocess.CompletedProcess[str]":
        state_dir = host.site.state_dir.removesuffix("-oci")
        arguments = [*command("cni_sriov_bond.ctl"), "--state-dir", state_dir, "gc", *options]
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    host.network()
    with fakes.container() as container:
        attach(host, container)
        assert (gc().returncode, host.sequence()) == (0, ["ADD first", "ADD second"])
    host.refuse("DEL", "first", 7, "stuck")
    failed = gc()
    assert failed.returncode == 1
    assert "container c1 eth0: cannot be detached, though the container's process" in failed.stdout
    assert "1 of these could not be finished" in failed.stderr
    host.obey("DEL", "first")
    done = gc("--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["containers"] == [
        {
            "container_id": "c1",
            "ifname": "eth0",
            "network": "db",
            "state": "done",
            "message": "detached, because its DEL was pending",
        }
    ]
    assert host.left() == []
