"""Calls of our IPAM plugin and of host-local: as processes, and of ours also in this process, where many are made."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cni_sriov_bond.cni import result
from cni_sriov_bond.cni.call import parse_call
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.ipam import verbs
from tests.support import REPOSITORY

OURS = (sys.executable, "-m", "cni_sriov_bond.ipam")


class Answer(NamedTuple):
    """What a call printed: its document, empty for none, and its error code, 0 for success."""

    code: int
    document: dict[str, Any]

    @property
    def ips(self) -> list[str]:
        """The addresses of a result of 0.3.0 and later."""
        return [ip["address"] for ip in self.document.get("ips", [])]

    @property
    def message(self) -> str:
        """The message of an error."""
        return str(self.document.get("msg", ""))


def network(data_dir: Path, name: str = "net1", version: str = "1.1.0", **ipam: Any) -> dict[str, Any]:
    """Return the config of a network; callers set keys outside of its ipam afterwards."""
    return {"cniVersion": version, "name": name, "type": "any", "ipam": {"type": "x", "dataDir": str(data_dir), **ipam}}


def environment(verb: str, cid: str, ifname: str, args: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": cid,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": "/var/run/netns/x",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": args,
    }


def start(
    verb: str, value: dict[str, Any], cid: str = "c1", ifname: str = "eth0", args: str = "", program: tuple[str, ...] = OURS
) -> "subprocess.Popen[bytes]":
    """Start a call with its config on standard input."""
    environ = {**environment(verb, cid, ifname, args), "PATH": os.environ["PATH"]}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process: subprocess.Popen[bytes] = subprocess.Popen(
        program,
        env=environ,
        cwd=REPOSITORY,
        **pipes,  # type: ignore[call-overload]
    )
    assert process.stdin
    process.stdin.write(json.dumps(value).encode())
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[bytes]") -> Answer:
    """Wait for a call and return its answer; its streams and exit status must follow the CNI specification."""
    out, err = process.communicate()
    document = json.loads(out) if out else {}
    assert err == b""
    assert process.returncode == (1 if "code" in document else 0), (process.returncode, out)
    return Answer(document.get("code", 0), document)


def process(verb: str, value: dict[str, Any], cid: str = "c1", ifname: str = "eth0", args: str = "") -> Answer:
    """Make a call as a runtime would."""
    return finish(start(verb, value, cid, ifname, args))


def host_local(
    program: Path, verb: str, value: dict[str, Any], cid: str = "c1", ifname: str = "eth0", args: str = ""
) -> Answer:
    """Make a call of the reference plugin."""
    return finish(start(verb, value, cid, ifname, args, (str(program),)))


def call(verb: str, value: dict[str, Any], cid: str = "c1", ifname: str = "eth0", args: str = "") -> Answer:
    """Make a call in this process: all that the plugin does, except for its standard streams."""
    try:
        request = parse_call(environment(verb, cid, ifname, args), lambda: json.dumps(value).encode())
        if verb == "ADD":
            return Answer(0, json.loads(result.build(verbs.add(request), request.version)))
        {"DEL": verbs.delete, "CHECK": verbs.check, "GC": verbs.gc, "STATUS": verbs.status}[verb](request)
    except CniError as error:
        return Answer(error.code, {"code": error.code, "msg": error.msg, "details": error.details})
    return Answer(0, {})


def reserved(data_dir: Path, name: str = "net1") -> dict[str, str]:
    """Return every reservation on disk: address and content."""
    directory = data_dir / name
    files = [path for path in directory.iterdir() if path.name[0] in "0123456789abcdef" and path.name[:4] != "last"]
    return {path.name: path.read_bytes().decode() for path in files}


def count_functions(work: Callable[[], object]) -> int:
    """Return how many functions, of Python and of C, a piece of work calls: its cost, whatever else the machine does."""
    count = 0

    def count_event(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
