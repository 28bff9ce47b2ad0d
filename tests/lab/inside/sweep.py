"""Kill the plugin, or its delegate, at every system call that changes something; recover; check for leaks.

usage: python3 -m tests.lab.inside.sweep TRACER [--all] [--turn N]
       [--variant NAME,...] [--kind NAME,...] [--verb ADD|DEL] [--point N]

Run in the guest, on a pool of two bonds that it creates. A point is a system call that changes something (listed in tracer.c).
For each point there is one call of the plugin, which the tracer kills there, until a call ends before its point. Then follows
one recovery, in turn (--turn is the number of the first), or with --all each of them:

    DEL         the runtime's DEL, with the namespace
    netns gone  the namespace is deleted, then DEL without one
    next ADDs   others attach, all at once, until the pool is empty, and detach
    GC          the runtime's GC, with no valid attachment
    gc          sriov-bondctl gc

Then the outside checker must report nothing. Where a system call fails and the plugin continues, its answer must be true before
any recovery: an ADD that failed has left nothing, one that succeeded has created an intact attachment that passes CHECK, and a
DEL that succeeded has left nothing. Only the runtime may remove an intact attachment (ADD was at its end, or DEL at its
beginning), so after "next ADDs" and "gc" it may exist, unchanged, until a DEL.

Kinds: kill (the plugin), delegate (the delegate is killed), orphan (the plugin is killed while its delegate is at a point; the
delegate continues), fail and delegate-fail (the system call fails, with EIO, ENOSPC, EBUSY or ENOMEM in turn; the plugin must
succeed or report one error, and not a bug), answer-fail (a netlink request is done, but receiving its answer fails),
question-fail (a call that changes nothing fails: opening a file or directory, creating a socket or a pipe; see tracer.c).

Standard output has one JSON object a line: progress, each leak, and a row at the end of each case.

It is one process with few imports: in an emulated guest each start of a program takes 20 to 100 ms.
"""

import ctypes
import errno
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from tests.lab.inside import checker

PLUGIN = "/opt/cni/bin/sriov-bond"
STATE_DIR, NETWORKS = checker.STATE_DIR, f"{checker.NETWORKS_DIR}/db"
CONFIG = "/run/sweep.toml"
HOST_FILE = '[pools.db]\npfs = ["enp1s0", "enp2s0"]\nvfs = 2\n'
BONDS = 2
OTHERS = ("x1", "x2")
# If this call fails with EBUSY, something that cannot be seen uses the VF, and the bond is quarantined.
HELD = "SETLINK port of"
RECOVERIES = ("DEL", "netns gone", "next ADDs", "GC", "gc")
ERRORS = ("EIO", "ENOSPC", "EBUSY", "ENOMEM")
# The errors of calls that change nothing.
ERRORS_OF = {"answer-fail": ("ENOMEM", "ENOBUFS"), "question-fail": ("EMFILE", "EIO", "ENOMEM")}
KINDS = {
    "kill": ("main", "kill"),
    "delegate": ("delegate", "kill"),
    "orphan": ("delegate", "orphan"),
    "fail": ("main", "fail"),
    "delegate-fail": ("delegate", "fail"),
    "answer-fail": ("answer", "fail"),
    "question-fail": ("question", "fail"),
}
SECONDS = 90.0
RETURN_SECONDS = 10.0
CLONE_NEWNET, MS_BIND, MNT_DETACH, PR_SET_CHILD_SUBREAPER = 0x40000000, 4096, 2, 36
TRY_AGAIN_LATER, BUG = 11, 199

Json = dict[str, Any]

NETWORK: Json = {"cniVersion": "1.0.0", "name": "db", "type": "sriov-bond", "pool": "db", "mode": "balance-xor"}
# As many addresses as bonds, so that a lost one is noticed at once. host-local loses some itself, so it has more.
RANGE = {"subnet": "10.100.0.0/24", "rangeStart": "10.100.0.10", "rangeEnd": "10.100.0.11"}
VARIANTS: dict[str, Json] = {
    "default": NETWORK,
    "own": {
        **NETWORK,
        "vlan": 100,
        "vlanQoS": 3,
        "mac": "02:11:22:33:44:55",
        "min_tx_rate": 0,
        "max_tx_rate": 100,
        "ipam": {"type": "sriov-bond-ipam", "ranges": [[RANGE]]},
    },
    "host-local": {
        **NETWORK,
        "vlan": 100,
        "mtu": 1400,
        "trust": "on",
        "spoofchk": "off",
        "ipam": {"type": "host-local", "ranges": [[{**RANGE, "rangeEnd": "10.100.0.40"}]]},
    },
}
# The delegate has no address to allocate, so ADD undoes everything.
VARIANTS["refused"] = {
    **VARIANTS["own"],
    "ipam": {"type": "sriov-bond-ipam", "ranges": [[{**RANGE, "rangeStart": "10.100.0.1", "rangeEnd": "10.100.0.1"}]]},
}
# The cases of a normal pass. System calls fail only in the variant that makes all of them.
CASES = (
    *((variant, verb, "kill") for variant in ("default", "own", "host-local") for verb in ("ADD", "DEL")),
    *((variant, verb, "delegate") for variant in ("own", "host-local") for verb in ("ADD", "DEL")),
    *(("own", verb, kind) for kind in ("fail", "delegate-fail", "answer-fail") for verb in ("ADD", "DEL")),
)
MORE_CASES = (
    ("refused", "ADD", "kill"),
    ("refused", "ADD", "fail"),
    *((variant, verb, "orphan") for variant in ("own", "host-local") for verb in ("ADD", "DEL")),
    *((variant, verb, "fail") for variant in ("default", "host-local") for verb in ("ADD", "DEL")),
    *(("host-local", verb, "delegate-fail") for verb in ("ADD", "DEL")),
    *(("own", verb, "question-fail") for verb in ("ADD", "DEL")),
)


def emit(**event: object) -> None:
    print(json.dumps(event), flush=True)


# -- processes


class Call:
    """How a program ended: its wait status and its output."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def code(self) -> int:
        """The code of its error document, or 0."""
        try:
            return int(json.loads(self.stdout)["code"])
        except (ValueError, KeyError, TypeError):
            return 0

    def __str__(self) -> str:
        return f"status {os.waitstatus_to_exitcode(self.status)}: {self.stdout.strip()} {self.stderr.strip()}"[-600:]


class Streams:
    """Memory files for the three standard streams, so that nothing must be read while the program runs."""

    def __init__(self, stdin: bytes) -> None:
        self.files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        os.write(self.files[0], stdin)
        os.lseek(self.files[0], 0, 0)
        self.actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self.files)]

    def call(self, status: int) -> Call:
        texts = [os.pread(fd, 1 << 20, 0).decode(errors="replace") for fd in self.files[1:]]
        for fd in self.files:
            os.close(fd)
        return Call(status, *texts)


class Running:
    """A started program."""

    def __init__(self, argv: list[str], environ: dict[str, str], stdin: bytes = b"") -> None:
        self._streams = Streams(stdin)
        self._pid = os.posix_spawnp(argv[0], argv, environ, file_actions=self._streams.actions)

    def ended(self) -> Call:
        """Wait for its end."""
        handle = os.pidfd_open(self._pid)
        if not select.select([handle], [], [], SECONDS)[0]:
            os.kill(self._pid, signal.SIGKILL)
        os.close(handle)
        _, status = os.waitpid(self._pid, 0)
        return self._streams.call(status)


def run(argv: list[str], environ: dict[str, str], stdin: bytes = b"") -> Call:
    return Running(argv, environ, stdin).ended()


class Traced:
    """A program under the tracer; its children may outlive it."""

    def __init__(
        self, tracer: str, order: str, environ: dict[str, str], stdin: bytes, program: tuple[str, ...] = (PLUGIN,)
    ) -> None:
        self._streams = Streams(stdin)
        self._pipe, write = os.pipe()
        actions = [*self._streams.actions, (os.POSIX_SPAWN_DUP2, write, 9)]
        self.pid = os.posix_spawn(tracer, [tracer, "9", order, *program], environ, file_actions=actions)
        os.close(write)
        self.points: list[tuple[str, int, str]] = []
        self._rest = b""
        self._at_end = False
        self._main: int | None = None
        self._deadline = time.monotonic() + SECONDS

    def _read(self) -> None:
        if not select.select([self._pipe], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            os.kill(self.pid, signal.SIGKILL)  # kills all that it traces
            raise TimeoutError(f"{PLUGIN} did not end within {SECONDS:.0f} s")
        data = os.read(self._pipe, 1 << 16)
        self._at_end = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split(" ", 4)
            if words[0] == "main":
                self._main = int(words[1])
            else:
                self.points.append((words[1], int(words[2]), label(words[3], words[4])))

    def main(self) -> Call:
        """Wait until the program itself has ended."""
        while self._main is None and not self._at_end:
            self._read()
        if self._main is None:
            raise RuntimeError("the tracer ended before its program")
        return self._streams.call(self._main)

    def all(self) -> None:
        """Wait until its children have ended too; may be called again."""
        if self._pipe < 0:
            return
        while not self._at_end:
            self._read()
        os.close(self._pipe)
        self._pipe = -1
        os.waitpid(self.pid, 0)
        reap()


def reap() -> None:
    """Reap the orphans, which have become children of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


# -- names of points

MESSAGES = {16: "NEWLINK", 17: "DELLINK", 18: "GETLINK", 19: "SETLINK", 20: "NEWADDR", 22: "GETADDR", 24: "NEWROUTE"}
MESSAGES |= {26: "GETROUTE", 109: "DELLINKPROP"}
ATTRIBUTES = {1: "address", 3: "name", 4: "mtu", 10: "port of", 18: "options", 22: "VF", 28: "to netns", 52: "altnames"}
VF_SETTINGS = {1: "MAC", 2: "VLAN", 4: "spoof check", 5: "link state", 6: "rates", 9: "trust", 12: "VLAN"}


# Parts that differ between runs, and their replacement.
NAMES = (
    (r"(/\.\S+)\.\d+(?= |$)", r"\1.PID"),
    (r"\b[0-9a-f]{32}\b", "KEY"),
    (r"\bcbond\d+", "BOND"),
    (r"(\d+\.){3}\d+$", "ADDRESS"),
    (r"(pipe|socket|net):\S*", r"\1"),
    (r"/proc/\d+", "/proc/PID"),
    (r"/memfd:(\w+) \(deleted\)", r"\1"),
)


def label(call: str, detail: str) -> str:
    """Return the name of a point, the same in every run."""
    words = detail.split(" ")
    if call == "answer":
        return f"answer {netlink_name(bytes.fromhex(words[1]))}"
    if call == "send" and words[0] == "netlink":
        return netlink_name(bytes.fromhex(words[1]))
    if call == "send":
        return f"send {words[0]}"
    detail = detail.replace(f"{STATE_DIR}/db/", "").replace(f"{checker.NETWORKS_DIR}/", "")
    for pattern, name in NAMES:
        detail = re.sub(pattern, name, detail)
    return f"{call} {detail}".strip()


def netlink_name(message: bytes) -> str:
    kind = int.from_bytes(message[4:6], "little")
    words = [MESSAGES.get(kind, str(kind))]
    if kind in (16, 17, 19):
        if message[28] & 1:
            words.append("up" if message[24] & 1 else "down")
        for kind_of, value in attributes(message[32:]):
            words.append(ATTRIBUTES.get(kind_of, str(kind_of)))
            if kind_of == 22:
                words += [
                    VF_SETTINGS.get(setting, str(setting))
                    for _, nested in attributes(value)
                    for setting, _ in attributes(nested)
                ]
    return " ".join(words)


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    parsed = []
    while len(data) >= 4:
        size, kind = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little") & 0x3FFF
        if size < 4:
            break
        parsed.append((kind, data[4:size]))
        data = data[size + 3 & ~3 :]
    return parsed


# -- namespaces


def libc(function: str, *arguments: Any) -> None:
    if checker.LIBC[function](*arguments):
        raise OSError(ctypes.get_errno(), f"{function} failed")


def make_netns(name: str) -> None:
    path, back = netns(name), os.open("/proc/self/ns/net", os.O_RDONLY)
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o444))
    try:
        libc("unshare", CLONE_NEWNET)
        libc("mount", b"/proc/self/ns/net", path.encode(), b"none", MS_BIND, None)
    finally:
        libc("setns", back, CLONE_NEWNET)
        os.close(back)


def delete_netns(name: str) -> None:
    libc("umount2", netns(name).encode(), MNT_DETACH)
    os.unlink(netns(name))


def netns(name: str) -> str:
    return f"/run/netns/{name}"


# -- the sweep


class Sweep:
    def __init__(self, tracer: str, everything: bool, turn: int) -> None:
        self.tracer = tracer
        self.everything = everything
        self.turn = turn
        self.leaks = 0
        self.checking = 0.0  # seconds
        self.traced: Traced | None = None
        self.rows: list[Json] = []
        for name in ("c1", *OTHERS):
            make_netns(name)
        self.make_pool()
        self.baseline = checker.baseline()

    def make_pool(self) -> None:
        with open(CONFIG, "w", encoding="utf-8") as file:
            file.write(HOST_FILE)
        self.control("down")
        done = self.control("up", "--config", CONFIG)
        if done.status:
            raise RuntimeError(f"the pool could not be created: {done}")

    def control(self, *words: str) -> Call:
        return run(["sriov-bondctl", *words], dict(os.environ))

    def close(self) -> None:
        for name in ("c1", *OTHERS):
            delete_netns(name)
        self.control("down")

    # -- calls of the plugin

    def environ(self, verb: str, name: str, netns_path: str) -> dict[str, str]:
        call = {"CNI_COMMAND": verb, "CNI_CONTAINERID": name, "CNI_NETNS": netns_path, "CNI_IFNAME": "eth0"}
        return {**call, "CNI_PATH": "/opt/cni/bin", "PATH": os.environ["PATH"]}

    def begin(self, verb: str, config: Json, name: str = "c1", netns_path: str | None = None) -> Running:
        environ = self.environ(verb, name, netns(name) if netns_path is None else netns_path)
        return Running([PLUGIN], environ, json.dumps(config).encode())

    def call(self, verb: str, config: Json, name: str = "c1", netns_path: str | None = None) -> Call:
        return self.begin(verb, config, name, netns_path).ended()

    def at_once(self, verb: str, config: Json, names: Iterable[str]) -> dict[str, Call]:
        """Make one call for each container, all at the same time."""
        running = {name: self.begin(verb, config, name) for name in names}
        return {name: process.ended() for name, process in running.items()}

    def need(self, verb: str, config: Json, name: str = "c1") -> list[str]:
        """Make a call that must succeed; return the problem if it did not."""
        done = self.call(verb, config, name)
        return [f"{verb} of {name} failed afterwards: {done}"] if done.status else []

    def live(self) -> Json:
        return {"network": "db", "container_id": "c1", "ifname": "eth0", "netns": netns("c1")}

    def check(self, *leases: Json) -> list[str]:
        names = [netns(name) for name in ("c1", *OTHERS)]
        if self.traced:
            self.traced.all()  # at rest: also the children of a killed plugin have ended
        began = time.monotonic()
        violations = checker.Check(self.baseline, {"leases": list(leases), "netns": names}).violations
        self.checking += time.monotonic() - began
        return violations

    # -- recoveries

    def recover(self, recovery: str, config: Json) -> list[str]:
        """Do one recovery, and return the problems after it."""
        if recovery == "DEL":
            return self.need("DEL", config) or self.check()
        if recovery == "netns gone":
            return self.without_netns(config)
        if recovery == "GC":
            done = self.call("GC", {**config, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []})
            return ([f"GC failed: {done}"] if done.status else []) or self.check()
        if recovery == "gc":
            done = self.control("gc")
            return self.unless_intact([f"sriov-bondctl gc failed: {done}"] if done.status else [], config)
        return self.next_adds(config)

    def without_netns(self, config: Json) -> list[str]:
        """The kernel returns the VFs some time later: the lease is draining until then, and a later DEL finishes it."""
        delete_netns("c1")
        make_netns("c1")
        deadline = time.monotonic() + RETURN_SECONDS
        while True:
            done = self.call("DEL", config, netns_path="")
            problems = [f"DEL without a namespace failed: {done}"] if done.status else self.check()
            if not problems or time.monotonic() > deadline:
                return problems

    def next_adds(self, config: Json) -> list[str]:
        if config is VARIANTS["refused"]:
            config = VARIANTS["own"]
        others = {key: value for key, value in config.items() if key != "mac"}
        done = self.at_once("ADD", others, OTHERS)
        # One may have failed because the other was just releasing the only free bond; a runtime tries again.
        done |= {name: self.call("ADD", others, name) for name, call in done.items() if call.code == TRY_AGAIN_LATER}
        attached = [name for name, call in done.items() if not call.status]
        problems = [f"the next ADD failed: {call}" for call in done.values() if call.status and call.code != TRY_AGAIN_LATER]
        deleted = self.at_once("DEL", others, attached)
        problems += [f"DEL of {name} failed afterwards: {call}" for name, call in deleted.items() if call.status]
        intact = not self.check(self.live())
        if len(attached) < BONDS - intact:
            problems.append(f"only {len(attached)} of the next ADDs got a bond")
        return self.unless_intact(problems, config)

    def unless_intact(self, problems: list[str], config: Json) -> list[str]:
        """Return the problems. An intact attachment is none, if its DEL releases everything."""
        if not problems and (violations := self.check()):
            return violations if self.check(self.live()) else self.need("DEL", config) or self.check()
        return problems

    # -- cases

    def case(self, variant: str, verb: str, kind: str, only: int = 0) -> None:
        """Interrupt a verb at each of its points."""
        began = time.monotonic()
        config = VARIANTS[variant]
        row: Json = {
            "variant": variant,
            "verb": verb,
            "kind": kind,
            "points": 0,
            "runs": 0,
            "leaks": 0,
            "reached": [],
            "all": [],
            "recoveries": {},
        }
        turn = self.turn + len(self.rows)  # so that not all cases begin with the same recovery
        number = only or 1
        while True:
            tries = self.tries(kind, number + turn)
            if not all(self.point(row, config, number, error, recovery) for error, recovery in tries) or only:
                break
            number += 1
            if number % 10 == 0:
                emit(event="progress", case=f"{variant} {verb} {kind}", points=number, leaks=row["leaks"])
        row["points"] = number - 1
        row["seconds"] = round(time.monotonic() - began, 1)
        row["checking"], self.checking = round(self.checking, 1), 0.0
        self.rows.append(row)
        emit(event="row", **row)

    def tries(self, kind: str, turn: int) -> list[tuple[str, str]]:
        """Return the errors and recoveries to try at a point: one in turn, or all."""
        errors = ERRORS_OF.get(kind, ERRORS)
        if not self.everything:
            return [(errors[turn % len(errors)], RECOVERIES[turn % len(RECOVERIES)])]
        if "fail" in kind:
            return [(errors[(turn + index) % len(errors)], recovery) for index, recovery in enumerate(RECOVERIES)]
        return [("", recovery) for recovery in RECOVERIES]

    def point(self, row: Json, config: Json, number: int, error: str, recovery: str) -> bool:
        """Interrupt a call at a point, recover, and check; return whether the call had this point."""
        verb, kind = row["verb"], row["kind"]
        task, action = KINDS[kind]
        if verb == "DEL" and (problems := self.need("ADD", config)):
            self.leak(row, number, "before", "", recovery, problems)
            self.repair()
        order = f"{task}:{number}:{action}" + (f"={getattr(errno, error)}" if action == "fail" else "")
        self.traced = traced = Traced(self.tracer, order, self.environ(verb, "c1", netns("c1")), json.dumps(config).encode())
        call = traced.main()
        if recovery not in ("DEL", "netns gone"):
            traced.all()  # a delegate that continues has the bond's lock, and these recoveries skip locked bonds
        name = next((name for point_task, point, name in traced.points if (point_task, point) == (task, number)), None)
        if name is None:
            row["all"] = [name for point_task, _, name in traced.points if point_task == task]
            refused = row["variant"] == "refused" and call.code == TRY_AGAIN_LATER
            problems = [f"{verb} failed without interruption: {call}"] if call.status and not refused else []
            problems += self.need("DEL", config) or self.check()
        else:
            problems = []
            if action == "fail" and error == "EBUSY" and name.startswith(HELD):
                problems += self.release_bond()
            if action == "fail" or kind == "delegate":
                problems += self.bad_failure(call, name) or self.contradictions(call, verb, config)
            problems += self.recover(recovery, config)
            row["reached"].append(name)
            row["runs"] += 1
            row["recoveries"][recovery] = row["recoveries"].get(recovery, 0) + 1
        traced.all()
        if row["variant"] == "host-local":
            self.remove_ownerless()
        if problems:
            description = f"{name or 'none'}{' fails with ' + error if action == 'fail' else ''}"
            self.leak(row, number, description, str(call), recovery, problems)
            self.repair()
        return name is not None

    def release_bond(self) -> list[str]:
        """Release the quarantined bond, as an operator does."""
        done = self.control("release", "db/cbond1")
        return [f"release failed: {done}"] if done.status or "out of quarantine" not in done.stdout else []

    def contradictions(self, call: Call, verb: str, config: Json) -> list[str]:
        """Return what contradicts the answer of the plugin, which was not killed."""
        if call.status == 0 and verb == "ADD":
            try:
                document = json.loads(call.stdout)
            except ValueError:
                return [f"an ADD succeeded without a result, {call}"]
            problems = self.check(self.live())
            # CHECK sees what the outside checker cannot see of a live attachment, e.g. its VLAN.
            checked = self.call("CHECK", {**config, "prevResult": document})
            problems += [f"its CHECK failed: {checked}"] if checked.status else []
            return [f"after an ADD that reported success: {line}" for line in problems]
        if call.status == 0:
            return [f"after a DEL that reported success: {line}" for line in self.check()]
        # In "refused" the ADD fails in any case, and the failing system call may be one of its undo.
        if verb == "ADD" and config is not VARIANTS["refused"]:
            return [f"after an ADD that reported failure: {line}" for line in self.check()]
        return []

    def bad_failure(self, call: Call, name: str) -> list[str]:
        """Return what is wrong with a failure: it must be one error document, and not a bug.

        If the document cannot be written, one line on standard error is required, which libcni shows then.
        """
        if call.status == 0:
            return []
        if name.startswith("write stdout") and not call.stdout:
            return [] if re.fullmatch(r"\S[^\n]*\n", call.stderr) else [f"it gave no reason, {call}"]
        try:
            document = json.loads(call.stdout)
            proper = isinstance(document["code"], int) and document["msg"] and document["code"] != BUG
        except (ValueError, KeyError, TypeError):
            proper = False
        if os.waitstatus_to_exitcode(call.status) != 1 or not proper or "Traceback" in call.stderr:
            return [f"it failed badly, {call}"]
        return []

    def leak(self, row: Json, number: int, name: str, outcome: str, recovery: str, lines: list[str]) -> None:
        row["leaks"] += 1
        self.leaks += 1
        case = f"{row['variant']} {row['verb']} {row['kind']}"
        emit(event="leak", case=case, point=number, call=name, recovery=recovery, outcome=outcome, lines=lines)

    def remove_ownerless(self) -> None:
        """Delete what a killed host-local leaves: an empty reservation."""
        for name in os.listdir(NETWORKS) if os.path.isdir(NETWORKS) else []:
            if name[:1].isdigit() and os.stat(f"{NETWORKS}/{name}").st_size == 0:
                os.unlink(f"{NETWORKS}/{name}")

    def repair(self) -> None:
        """Restore everything by force, so that a leak is reported once."""
        self.call("DEL", VARIANTS["own"])
        for name in OTHERS:
            self.call("DEL", VARIANTS["own"], name)
        if not self.check():
            return
        for name in ("c1", *OTHERS):
            delete_netns(name)
            make_netns(name)
        deadline = time.monotonic() + RETURN_SECONDS
        while any("not in the host" in line for line in self.check()) and time.monotonic() < deadline:
            pass
        run(["rm", "-rf", f"{STATE_DIR}/db", checker.NETWORKS_DIR], dict(os.environ))
        for pci in self.baseline["pfs"]:
            with open(f"{checker.PCI_DEVICES}/{pci}/sriov_numvfs", "w", encoding="ascii") as file:
                file.write("0")
        self.make_pool()
        self.baseline = checker.baseline()


def main(argv: list[str]) -> int:
    words = list(argv)
    tracer, options = words.pop(0), {}
    everything = "--all" in words
    if everything:
        words.remove("--all")
    options = dict(zip(words[::2], words[1::2], strict=True))
    variants = options.get("--variant", ",".join(VARIANTS)).split(",")
    kinds = options.get("--kind", ",".join(KINDS)).split(",")
    verbs = options.get("--verb", "ADD,DEL").split(",")
    chosen = [*CASES, *(MORE_CASES if everything or "--kind" in options else ())]
    libc("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sweep = Sweep(tracer, everything, int(options.get("--turn", "0")))
    for variant, verb, kind in chosen:
        if variant in variants and verb in verbs and kind in kinds:
            sweep.case(variant, verb, kind, int(options.get("--point", "0")))
    sweep.close()
    emit(event="end", leaks=sweep.leaks)
    return 1 if sweep.leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
