"""Judge the outcome of a call: whatever the contract does not allow is a complaint."""

import json
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from tests.fuzz import addresses, samples
from tests.fuzz.case import IPAM, Case
from tests.fuzz.process import Outcome
from tests.fuzz.sandbox import Tree

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECONDS = 5.0
EVENTS = f"{samples.STATE}.log"  # the log of events of this state directory, where there is no journal
# In bytes. The interpreter itself needs 30 MiB; the largest input is 1 MiB.
MOST_MEMORY = 128 << 20
MOST_ANSWER = 100 << 10
MOST_STDIN = 1 << 20
_CNIS = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}
_TRACES = (b"Traceback", b"Fatal Python error", b"MemoryError", b"Exception ignored", b"[PYI-")
_INTERNAL = re.compile(r"Traceback|<class|\bobject has no attribute|NoneType|codec can't|positional argument|Exceeds the limit")


def documented(program: str) -> set[int]:
    """Return the error codes that are documented for a program."""
    page, chapter, others = ("ipam.md", "## Errors", {1, 6}) if program == IPAM else ("operations.md", "## Error codes", _CNIS)
    text = (DOCS / page).read_text("utf-8").partition(f"{chapter}\n")[2].partition("\n## ")[0]
    return {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} - {199} | others


CODES = {program: documented(program) for program in ("sriov-bond", IPAM)}


def complaints(case: Case, outcome: Outcome, before: Tree, after: Tree) -> list[str]:
    """Return everything that is wrong with an outcome."""
    wrong = _process(case, outcome)
    document: Any = None
    if outcome.out:
        try:
            document = json.loads(outcome.out)
        except (ValueError, RecursionError) as error:
            wrong.append(f"standard output is not one document: {error}")
        if not (outcome.out.isascii() and outcome.out.endswith(b"\n") and outcome.out.count(b"\n") == 1):
            wrong.append("standard output is not one line of ASCII")
    if "out" in case.streams or (case.verb == "" and "err" in case.streams):
        pass  # the answer cannot be written, which the status reports
    elif outcome.status == 0:
        wrong += _success(case, outcome, document)
    elif not isinstance(document, dict):
        wrong.append("a failure without an error document")
    else:
        wrong += _error(case, document, len(outcome.out))
    if case.stdin is not None and len(case.stdin) > MOST_STDIN and case.verb not in ("VERSION", "") and outcome.status == 0:
        wrong.append("an input of more than 1 MiB was accepted")
    code = document.get("code", 0) if isinstance(document, dict) else outcome.status
    return wrong + _changes(case, before, after, code, document)


def _process(case: Case, outcome: Outcome) -> list[str]:
    wrong = []
    if outcome.timed_out:
        wrong.append(f"no answer within {outcome.seconds:.0f} s")
    elif outcome.status not in (0, 1):
        wrong.append(f"exit status {outcome.status}")
    if outcome.seconds < case.delegate.seconds:
        wrong.append(f"the delegate's deadline is {case.delegate.seconds:.0f} s, and it ended after {outcome.seconds:.0f}")
    if outcome.memory > MOST_MEMORY:
        wrong.append(f"{outcome.memory >> 20} MiB of memory")
    traces = [trace for trace in _TRACES if trace in outcome.err and trace not in case.delegate.answer]
    if traces:
        wrong.append(f"standard error has {traces}")
    if outcome.left and not case.delegate.leaves_a_daemon:
        wrong.append(f"processes left: {outcome.left}")
    return wrong


def _success(case: Case, outcome: Outcome, document: Any) -> list[str]:
    if case.verb == "VERSION":
        return [] if document and document["supportedVersions"] == list(VERSIONS) else ["no versions"]
    if case.verb == "ADD":
        wrong = not isinstance(document, dict) or "code" in document or document.get("cniVersion") not in VERSIONS
        return ["an ADD without a result"] if wrong else []
    if case.verb == "" and b"CNI protocol versions supported" not in outcome.err and "err" not in case.streams:
        return ["the usage text is missing"]
    return ["a success with output"] if outcome.out else []


def _error(case: Case, document: dict[str, Any], size: int) -> list[str]:
    if sorted(document) != ["cniVersion", "code", "details", "msg"]:
        return [f"an error document with the keys {sorted(document)}"]
    wrong = []
    code, msg, details = document["code"], document["msg"], document["details"]
    if document["cniVersion"] not in VERSIONS:
        wrong.append(f"an error of version {document['cniVersion']!r}")
    if type(code) is not int or not 0 < code < 2**32:
        wrong.append(f"the code {code!r} is invalid")
    from_delegate = code in case.delegate.codes
    if not from_delegate and code not in CODES[case.program]:
        wrong.append(f"the code {code} is not documented")
    if code == 199 and not from_delegate:
        wrong.append(f"a bug: {msg} {details}")
    if not isinstance(msg, str) or not isinstance(details, str):
        return [*wrong, "msg or details is not a string"]
    if not msg.strip():
        wrong.append("msg is empty")
    if not from_delegate:
        wrong += [f"msg is not a sentence: {msg[:100]!r}"] if len(msg.split()) < 2 else []
        wrong += [f"an internal message: {msg[:300]!r}"] if _INTERNAL.search(f"{msg} {details}") else []
        wrong += [f"an answer of {size} bytes"] if size > MOST_ANSWER else []
    return wrong


# -- changes of the file systems


def _changes(case: Case, before: Tree, after: Tree, code: int, document: Any) -> list[str]:
    """Return the changes that the verb must not make."""
    config = _config(case)
    created = {path: after[path] for path in after.keys() - before.keys()}
    removed = before.keys() - after.keys()
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    if isinstance(config.get("logFile"), str):
        changed -= (log := {config["logFile"], f"/run/fuzz/cwd/{config['logFile']}"})
        created = {path: content for path, content in created.items() if path not in log}
    # A log that became too large has another name now, and there may be no new one yet.
    full = f"{EVENTS}.1"
    if _adds_events(before.get(EVENTS), after[full] if EVENTS not in after and full in after else after.get(EVENTS)):
        changed -= {EVENTS, full}
        removed -= {EVENTS}
        created = {path: content for path, content in created.items() if path not in (EVENTS, full)}
    released = {before[path] for path in removed if "/leases/" in path} if code else set()
    created = {path: content for path, content in created.items() if not _is_pending_del(path, content, released)}
    wrong = [f"{path} is new" for path, content in created.items() if not _may_create(case, path, content, code, document)]
    wrong += [f"{path} was removed" for path in removed if not _may_remove(case, config, path, before[path])]
    wrong += [f"{path} has changed" for path in changed if not _is_index(path)]
    return wrong


def _adds_events(before: bytes | None, after: bytes | None) -> bool:
    """Return whether the log of events has got more lines of JSON, and lost none."""
    if after is None or not after.startswith(before or b"") or not after.endswith(b"\n"):
        return False
    try:
        return all(isinstance(json.loads(line), dict) for line in after.removeprefix(before or b"").splitlines())
    except ValueError:
        return False


def _config(case: Case) -> dict[str, Any]:
    try:
        value = json.loads((case.stdin or b"").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_pending_del(path: str, content: bytes | None, released: "set[bytes | None]") -> bool:
    """Return whether a file is the pending DEL of a released lease: it has the content of the lease, byte for byte."""
    return bool(released) and (path.endswith("/pending") if content is None else "/pending/" in path and content in released)


def _is_index(path: str) -> bool:
    return "/.sriov-bond/" in path or "/last_reserved_ip." in path or path.endswith("/.sriov-bond")


def _address(path: str) -> addresses.Ip | None:
    try:
        return ip_address(path.rpartition("/")[2])
    except ValueError:
        return None


def _may_create(case: Case, path: str, content: bytes | None, code: int, document: Any) -> bool:
    if content == b"" and (path.endswith("/lock") or "/bonds/" in path):
        return True
    if case.program != IPAM and not (case.verb != "ADD" and f'"{IPAM}"'.encode() in (case.stdin or b"")):
        return False
    address = _address(path)
    if address is None or case.verb != "ADD":
        return content is None or _is_index(path)
    return code == 0 and content == _owner(case) and str(address) in given(document)


def _owner(case: Case) -> bytes:
    return case.variable(b"CNI_CONTAINERID") + b"\r\n" + case.variable(b"CNI_IFNAME")


def given(document: Any) -> list[str]:
    """Return the addresses of a result of any version."""
    ips = [entry["address"] for entry in document.get("ips", ())]
    ips += [document[key]["ip"] for key in ("ip4", "ip6") if key in document]
    return [entry.partition("/")[0] for entry in ips]


def _may_remove(case: Case, config: dict[str, Any], path: str, content: bytes | None) -> bool:
    if _is_index(path):
        return True
    if case.verb not in ("DEL", "GC") or content is None:
        return False
    if "/leases/" in path:
        record = json.loads(content)
        network, container_id, ifname = record["network"], record["container_id"], record["ifname"]
    elif _address(path):
        network = path.split("/")[-2]
        container_id, _, ifname = content.decode().partition("\r\n")
    else:
        return False
    if network != config.get("name"):
        return False
    if case.verb == "GC":
        return _may_be_collected(config, container_id, ifname, content)
    mine = case.variable(b"CNI_CONTAINERID"), case.variable(b"CNI_IFNAME")
    return container_id.encode() == mine[0] and (ifname.encode() == mine[1] or not ifname)


def _may_be_collected(config: dict[str, Any], container_id: str, ifname: str, content: bytes) -> bool:
    """Return whether a GC may release an attachment: without a list if the container is gone, by a bad list never."""
    key = next((entry for entry in (samples.VALID, "cni.dev/attachments") if entry in config), None)
    if key is None:
        return b"/run/netns/gone" in content
    listed = config[key]
    if listed is None:
        return True
    if not isinstance(listed, list):
        return False
    valid = [(entry.get("containerID"), entry.get("ifname")) if isinstance(entry, dict) else (None, None) for entry in listed]
    if not all(isinstance(part, str) and part for entry in valid for part in entry):
        return False
    return (container_id, ifname) not in valid and (bool(ifname) or container_id not in [entry for entry, _ in valid])
