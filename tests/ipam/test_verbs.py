"""The verbs of the IPAM plugin as a runtime calls them: versions, DEL, CHECK, GC, STATUS, and an answer that nobody reads."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.errors import (
    CHECK_DIFFERS,
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    NOT_AVAILABLE,
    TRY_AGAIN_LATER,
)
from tests.ipam import calls
from tests.support import REPOSITORY

V4, V6 = "10.1.0.0/24", "fd00:1::/64"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_served(tmp_path: Path, version: str) -> None:
    value = calls.network(tmp_path, version=version, subnet=V4)
    assert calls.process("ADD", value).document["cniVersion"] == version
    allowed = {"CHECK": version >= "0.4.0", "STATUS": version == "1.1.0", "GC": version == "1.1.0"}
    for verb, is_allowed in allowed.items():
        answer = calls.call(verb, {**value, "prevResult": {"ips": [{"address": "10.1.0.2/24"}]}})
        assert answer.code == (0 if is_allowed else INCOMPATIBLE_VERSION), verb


def test_version_and_about() -> None:
    done = subprocess.run(calls.OURS, env={"CNI_COMMAND": "VERSION"}, cwd=REPOSITORY, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}
    done = subprocess.run(calls.OURS, env={}, cwd=REPOSITORY, capture_output=True, check=True)
    assert (done.stdout, done.stderr.split(b"\n")[0]) == (b"", b"CNI sriov-bond-ipam plugin")


@pytest.mark.parametrize("verb", ["NOPE", "add"])
def test_unknown_verbs_are_refused(tmp_path: Path, verb: str) -> None:
    assert calls.process(verb, calls.network(tmp_path, subnet=V4)).code == INVALID_ENVIRONMENT


def test_an_answer_that_nobody_reads_leaves_no_reservation(tmp_path: Path) -> None:
    """The runtime's end of the pipe is gone: nobody will know the address, so it is freed (contract 4, 43)."""
    running = calls.start("ADD", calls.network(tmp_path, subnet=V4))
    assert running.stdout and running.stderr
    running.stdout.close()
    assert running.wait() == 1
    running.stderr.close()
    assert calls.reserved(tmp_path) == {}


def test_an_answer_that_nobody_reads_frees_no_earlier_address(tmp_path: Path) -> None:
    """An address of a range that an earlier config had does not belong to the failed call."""
    assert calls.call("ADD", calls.network(tmp_path, subnet=V4)).ips == ["10.1.0.2/24"]
    running = calls.start("ADD", calls.network(tmp_path, subnet="10.7.0.0/24"))
    assert running.stdout and running.stderr
    running.stdout.close()
    assert running.wait() == 1
    running.stderr.close()
    assert calls.reserved(tmp_path) == {"10.1.0.2": "c1\r\neth0"}
    assert calls.call("DEL", calls.network(tmp_path, subnet=V4)).code == 0
    assert calls.reserved(tmp_path) == {}


def test_del_needs_no_valid_config(tmp_path: Path) -> None:
    """Ranges may have become invalid, been removed or moved since the ADD (D10)."""
    later: list[dict[str, Any]] = [{}, {"subnet": "bad"}, {"subnet": "10.99.0.0/24"}, {"ranges": 5}]
    for number, changed in enumerate(later):
        calls.call("ADD", calls.network(tmp_path, subnet=V4), f"c{number}")
        assert calls.call("DEL", calls.network(tmp_path, **changed), f"c{number}").code == 0
    assert calls.reserved(tmp_path) == {}


def test_del_without_an_add_creates_nothing(tmp_path: Path) -> None:
    assert calls.call("DEL", calls.network(tmp_path / "none", subnet=V4)).code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["fifo", "endless"])
def test_a_resolv_conf_without_an_end_does_not_block(tmp_path: Path, kind: str) -> None:
    """A FIFO without a writer and a device without an end give no dns, and the address is allocated."""
    os.mkfifo(tmp_path / "fifo")
    path = {"fifo": str(tmp_path / "fifo"), "endless": "/dev/zero"}[kind]
    answer = calls.call("ADD", calls.network(tmp_path, subnet=V4, resolvConf=path))
    assert (answer.ips, answer.document.get("dns")) == (["10.1.0.2/24"], None)


def test_check(tmp_path: Path) -> None:
    """It succeeds after an ADD, and fails for an attachment without an address or with another's in prevResult."""
    value = calls.network(tmp_path, subnet=V4)
    answer = calls.call("ADD", value, "a")
    calls.call("ADD", value, "b")
    previous = {**value, "prevResult": answer.document}
    assert calls.process("CHECK", previous, "a").code == 0
    assert calls.call("CHECK", previous, "b").code == CHECK_DIFFERS
    assert calls.call("CHECK", previous, "c").code == CHECK_DIFFERS
    foreign = {**value, "prevResult": {"ips": [{"address": "192.0.2.1/24"}, *answer.document["ips"]]}}
    assert calls.call("CHECK", foreign, "a").code == 0
    assert calls.call("CHECK", {**value, "prevResult": {"ips": [5]}}, "a").code == DECODING_FAILURE


@pytest.mark.parametrize("previous", [{"ips": 5}, {"ips": [{"address": []}]}, [1], "x", {"cniVersion": "9.9.9"}])
def test_check_reports_what_is_wrong_with_prevresult(tmp_path: Path, previous: object) -> None:
    """In plain words, without the text of a Python exception."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value)
    refused = calls.call("CHECK", {**value, "prevResult": previous})
    assert (refused.code, "is not a CNI result: " in refused.message) == (DECODING_FAILURE, True)
    assert "object has no" not in refused.message and "iterable" not in refused.message


def test_status(tmp_path: Path) -> None:
    """It creates nothing, and fails when a set is full or when reservations cannot be written."""
    value = calls.network(tmp_path / "data", ranges=[[{"subnet": V6}], [{"subnet": "10.1.0.0/30"}]])
    assert calls.process("STATUS", value).code == 0
    assert list(tmp_path.iterdir()) == []
    calls.call("ADD", value)
    full = calls.process("STATUS", value)
    assert (full.code, full.message) == (NOT_AVAILABLE, "network 'net1' has no address left in 10.1.0.1-10.1.0.2")
    calls.call("DEL", value)
    assert calls.call("STATUS", value).code == 0
    (tmp_path / "file").touch()
    assert calls.call("STATUS", calls.network(tmp_path / "file/x", subnet=V4)).code == NOT_AVAILABLE
    assert calls.call("ADD", calls.network(tmp_path / "file/x", subnet=V4)).code == IO_FAILURE
    assert calls.call("STATUS", calls.network(tmp_path)).code == INVALID_CONFIG


def test_status_of_a_set_that_never_had_an_address(tmp_path: Path) -> None:
    """Where every address is excluded or a gateway even the first ADD fails, and STATUS fails before it."""
    value = calls.network(tmp_path / "data", subnet="10.1.0.24/30", exclude=["10.1.0.26"])
    status = calls.call("STATUS", value)
    assert (status.code, status.message) == (NOT_AVAILABLE, "network 'net1' has no address left in 10.1.0.25-10.1.0.26")
    assert calls.call("ADD", value).code == TRY_AGAIN_LATER


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_frees_what_is_not_listed(tmp_path: Path, key: str) -> None:
    """Of this network alone (G2, G5); an empty list and null free all of it (G3)."""
    value, other = calls.network(tmp_path, subnet=V4), calls.network(tmp_path, "net2", subnet=V4)
    for cid, ifname in (("a", "eth0"), ("a", "net1"), ("b", "eth0")):
        assert calls.call("ADD", value, cid, ifname).code == 0
    calls.call("ADD", other, "b")
    assert (
        calls.process("GC", {**value, key: [{"containerID": "a", "ifname": "net1"}, {"containerID": "x", "ifname": "y"}]}).code
        == 0
    )
    assert calls.reserved(tmp_path) == {"10.1.0.3": "a\r\nnet1"}
    assert calls.reserved(tmp_path, "net2") == {"10.1.0.2": "b\r\neth0"}
    assert calls.call("GC", {**value, key: None}).code == 0
    assert calls.reserved(tmp_path) == {}
    assert calls.call("ADD", value, "a", "net1").ips == ["10.1.0.5/24"]


@pytest.mark.parametrize(
    "listed",
    [
        *(5, 0, "x", "", {}, False, [5], [{}], [None]),
        *([{"containerID": "a"}], [{"containerID": 5, "ifname": "x"}], [{"containerID": "", "ifname": "eth0"}]),
    ],
)
def test_gc_with_a_malformed_list_frees_nothing(tmp_path: Path, listed: object) -> None:
    """Neither a malformed list (G8) nor an absent one (G4) frees anything."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value)
    assert calls.call("GC", {**value, "cni.dev/valid-attachments": listed}).code == DECODING_FAILURE
    assert len(calls.reserved(tmp_path)) == 1
    assert calls.call("GC", value).code == 0
    assert len(calls.reserved(tmp_path)) == 1


def test_gc_keeps_what_either_list_has(tmp_path: Path) -> None:
    """The list has two names; a bad one beside a good one frees nothing (G5, G8)."""
    value = calls.network(tmp_path, subnet=V4)
    for container_id in ("a", "b", "c"):
        calls.call("ADD", value, container_id)
    newer, older = ([{"containerID": container_id, "ifname": "eth0"}] for container_id in ("a", "b"))
    lists = {**value, "cni.dev/valid-attachments": newer, "cni.dev/attachments": older}
    assert calls.call("GC", {**lists, "cni.dev/attachments": 5}).code == DECODING_FAILURE
    assert len(calls.reserved(tmp_path)) == 3
    assert calls.call("GC", lists).code == 0
    assert len(calls.reserved(tmp_path)) == 2
