"""Kill the plugin, or its delegate, at every system call that changes something; bring all back; look for what has leaked.

usage: python3 -m tests.lab.inside.sweep TRACER [--all] [--turn N]
       [--variant NAME,...] [--kind NAME,...] [--verb ADD|DEL] [--point N]

Run in the guest, on a pool of two bonds that it makes itself. A point is a system call that changes something (tracer.c says
which); each is met in a call of its own, which the tracer ends there, until one ends before it. After it comes one of the ways
back, in turn (--turn says with which the first begins), or with --all each of them:

    DEL         the runtime's DEL, with the namespace
    netns gone  the namespace is deleted, then DEL without one
    next ADDs   others attach, all at once, until the pool is full, and give all back
    GC          the runtime's GC, with no valid attachment
    gc          sriov-bondctl gc

Then the outside checker must have nothing to say. Where a call fails and the plugin goes on, what it says must be true before
any way back: an ADD that failed has left nothing, one that succeeded has made an attachment that is whole and passes its CHECK,
and a DEL that succeeded has left nothing. An attachment that is whole (ADD was at its end, or DEL at its beginning) is nobody's
to take but the runtime's, so after "next ADDs" and "gc" it may be there, unchanged, and goes with a DEL.

Kinds: kill (the plugin), delegate (the delegate is killed), orphan (the plugin is killed while its delegate is at a point; the
delegate goes on), fail and delegate-fail (the call fails instead, with EIO, ENOSPC, EBUSY or ENOMEM in turn; the plugin then
must succeed or say one error, which is no bug's), answer-fail (netlink did what it was asked for, and its answer is not heard),
question-fail (what only looks fails: a file or folder that is to be read, a socket, a pipe; see tracer.c).

Standard output has one JSON object a line: progress, each leak, and a row for each case at its end.

One process, and few imports: in an emulated guest each start of a program costs 20 to 100 ms.
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
# The call that says by EBUSY that a VF is held by what cannot be seen: the bond is then put into quarantine.
HELD = "SETLINK port of"
WAYS = ("DEL", "netns gone", "next ADDs", "GC", "gc")
ERRORS = ("EIO", "ENOSPC", "EBUSY", "ENOMEM")
# What those calls can fail with that change nothing.
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
HOME_SECONDS = 10.0
CLONE_NEWNET, MS_BIND, MNT_DETACH, PR_SET_CHILD_SUBREAPER = 0x40000000, 4096, 2, 36
TAKEN, BUG = 11, 199

Json = dict[str, Any]

NETWORK: Json = {"cniVersion": "1.0.0", "name": "db", "type": "sriov-bond", "pool": "db", "mode": "balance-xor"}
# As many addresses as bonds: one that is lost is missed at once. host-local loses some itself, so it has more.
RANGE = {"subnet": "10.100.0.0/24", "rangeStart": "10.100.0.10", "rangeEnd": "10.100.0.11"}
VARIANTS: dict[str, Json] = {
    "plain": NETWORK,
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
# The delegate has no address to give, so that ADD undoes all that it has done.
VARIANTS["refused"] = {
    **VARIANTS["own"],
    "ipam": {"type": "sriov-bond-ipam", "ranges": [[{**RANGE, "rangeStart": "10.100.0.1", "rangeEnd": "10.100.0.1"}]]},
}
# What a full pass does: failing calls on the variant that makes all of them.
CASES = (
    *((variant, verb, "kill") for variant in ("plain", "own", "host-local") for verb in ("ADD", "DEL")),
    *((variant, verb, "delegate") for variant in ("own", "host-local") for verb in ("ADD", "DEL")),
    *(("own", verb, kind) for kind in ("fail", "delegate-fail", "answer-fail") for verb in ("ADD", "DEL")),
)
MORE_CASES = (
    ("refused", "ADD", "kill"),
    ("refused", "ADD", "fail"),
    *((variant, verb, "orphan") for variant in ("own", "host-local") for verb in ("ADD", "DEL")),
    *((variant, verb, "fail") for variant in ("plain", "host-local") for verb in ("ADD", "DEL")),
    *(("host-local", verb, "delegate-fail") for verb in ("ADD", "DEL")),
    *(("own", verb, "question-fail") for verb in ("ADD", "DEL")),
)


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


# -- processes


class Call:
    """How a program ended: its wait status, and what it printed."""

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
    """Files in memory for the three standard streams: nothing has to be read while the program runs."""

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
    """A program that has been started."""

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
    """A program under the tracer; what it started may outlive it."""

    def __init__(self, tracer: str, order: str, environ: dict[str, str], stdin: bytes) -> None:
        self._streams = Streams(stdin)
        self._told, theirs = os.pipe()
        actions = [*self._streams.actions, (os.POSIX_SPAWN_DUP2, theirs, 9)]
        self.pid = os.posix_spawn(tracer, [tracer, "9", order, PLUGIN], environ, file_actions=actions)
        os.close(theirs)
        self.points: list[tuple[str, int, str]] = []
        self._rest = b""
        self._over = False
        self._main: int | None = None
        self._deadline = time.monotonic() + SECONDS

    def _hear(self) -> None:
        if not select.select([self._told], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            os.kill(self.pid, signal.SIGKILL)  # takes all that it traces along
            raise TimeoutError(f"{PLUGIN} did not end within {SECONDS:.0f} s")
        data = os.read(self._told, 1 << 16)
        self._over = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split(" ", 4)
            if words[0] == "main":
                self._main = int(words[1])
            else:
                self.points.append((words[1], int(words[2]), label(words[3], words[4])))

    def main(self) -> Call:
        """Wait until the program itself has ended."""
        while self._main is None and not self._over:
            self._hear()
        if self._main is None:
            raise RuntimeError("the tracer ended before its program")
        return self._streams.call(self._main)

    def all(self) -> None:
        """Wait until all that it started has ended too; again is no harm."""
        if self._told < 0:
            return
        while not self._over:
            self._hear()
        os.close(self._told)
        self._told = -1
        os.waitpid(self.pid, 0)
        reap()


def reap() -> None:
    """Take the status of those whose parents were killed: they have become our children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


# -- points in words

MESSAGES = {16: "NEWLINK", 17: "DELLINK", 18: "GETLINK", 19: "SETLINK", 20: "NEWADDR", 22: "GETADDR", 24: "NEWROUTE"}
MESSAGES |= {26: "GETROUTE", 109: "DELLINKPROP"}
ATTRIBUTES = {1: "address", 3: "name", 4: "mtu", 10: "port of", 18: "options", 22: "VF", 28: "to netns", 52: "altnames"}
VF_SETTINGS = {1: "MAC", 2: "VLAN", 4: "spoof check", 5: "link state", 6: "rates", 9: "trust", 12: "VLAN"}


# What differs from run to run, and what it is called then.
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
    """Say in words what a point is, the same words in every run."""
    words = detail.split(" ")
    if call == "answer":
        return f"answer {netlink_words(bytes.fromhex(words[1]))}"
    if call == "send" and words[0] == "netlink":
        return netlink_words(bytes.fromhex(words[1]))
    if call == "send":
        return f"send {words[0]}"
    detail = detail.replace(f"{STATE_DIR}/db/", "").replace(f"{checker.NETWORKS_DIR}/", "")
    for pattern, name in NAMES:
        detail = re.sub(pattern, name, detail)
    return f"{call} {detail}".strip()


def netlink_words(message: bytes) -> str:
    kind = int.from_bytes(message[4:6], "little")
    words = [MESSAGES.get(kind, str(kind))]
    if kind in (16, 17, 19):
        if message[28] & 1:
            words.append("up" if message[24] & 1 else "down")
        for one, value in attributes(message[32:]):
            words.append(ATTRIBUTES.get(one, str(one)))
            if one == 22:
                words += [
                    VF_SETTINGS.get(setting, str(setting)) for _, inner in attributes(value) for setting, _ in attributes(inner)
                ]
    return " ".join(words)


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        size, kind = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little") & 0x3FFF
        if size < 4:
            break
        found.append((kind, data[4:size]))
        data = data[size + 3 & ~3 :]
    return found


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
        made = self.control("up", "--config", CONFIG)
        if made.status:
            raise RuntimeError(f"the pool could not be made: {made}")

    def control(self, *words: str) -> Call:
        return run(["sriov-bondctl", *words], dict(os.environ))

    def close(self) -> None:
        for name in ("c1", *OTHERS):
            delete_netns(name)
        self.control("down")

    # -- calls of the plugin

    def environ(self, verb: str, name: str, where: str) -> dict[str, str]:
        call = {"CNI_COMMAND": verb, "CNI_CONTAINERID": name, "CNI_NETNS": where, "CNI_IFNAME": "eth0"}
        return {**call, "CNI_PATH": "/opt/cni/bin", "PATH": os.environ["PATH"]}

    def begin(self, verb: str, config: Json, name: str = "c1", where: str | None = None) -> Running:
        environ = self.environ(verb, name, netns(name) if where is None else where)
        return Running([PLUGIN], environ, json.dumps(config).encode())

    def call(self, verb: str, config: Json, name: str = "c1", where: str | None = None) -> Call:
        return self.begin(verb, config, name, where).ended()

    def at_once(self, verb: str, config: Json, names: Iterable[str]) -> dict[str, Call]:
        """Make one call for each container, all at once."""
        running = {name: self.begin(verb, config, name) for name in names}
        return {name: one.ended() for name, one in running.items()}

    def need(self, verb: str, config: Json, name: str = "c1") -> list[str]:
        """Make a call that must succeed; give what is wrong if it did not."""
        done = self.call(verb, config, name)
        return [f"{verb} of {name} failed afterwards: {done}"] if done.status else []

    def live(self) -> Json:
        return {"network": "db", "container_id": "c1", "ifname": "eth0", "netns": netns("c1")}

    def check(self, *leases: Json) -> list[str]:
        names = [netns(name) for name in ("c1", *OTHERS)]
        if self.traced:
            self.traced.all()  # at rest: what a killed plugin has left running has ended
        began = time.monotonic()
        found = checker.Check(self.baseline, {"leases": list(leases), "netns": names}).found
        self.checking += time.monotonic() - began
        return found

    # -- the ways back

    def way_back(self, way: str, config: Json) -> list[str]:
        """Go one way back and give what is wrong after it."""
        if way == "DEL":
            return self.need("DEL", config) or self.check()
        if way == "netns gone":
            return self.without_netns(config)
        if way == "GC":
            done = self.call("GC", {**config, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []})
            return ([f"GC failed: {done}"] if done.status else []) or self.check()
        if way == "gc":
            done = self.control("gc")
            return self.or_whole([f"sriov-bondctl gc failed: {done}"] if done.status else [], config)
        return self.next_adds(config)

    def without_netns(self, config: Json) -> list[str]:
        """The kernel brings the VFs home in its own time: a lease that is left drains, and the next look finishes it."""
        delete_netns("c1")
        make_netns("c1")
        deadline = time.monotonic() + HOME_SECONDS
        while True:
            done = self.call("DEL", config, where="")
            found = [f"DEL without a namespace failed: {done}"] if done.status else self.check()
            if not found or time.monotonic() > deadline:
                return found

    def next_adds(self, config: Json) -> list[str]:
        if config is VARIANTS["refused"]:
            config = VARIANTS["own"]
        others = {key: value for key, value in config.items() if key != "mac"}
        done = self.at_once("ADD", others, OTHERS)
        # One may have found that the other is just taking the only bond apart that is left; a runtime tries again.
        done |= {name: self.call("ADD", others, name) for name, one in done.items() if one.code == TAKEN}
        made = [name for name, one in done.items() if not one.status]
        found = [f"the next ADD failed: {one}" for one in done.values() if one.status and one.code != TAKEN]
        gone = self.at_once("DEL", others, made)
        found += [f"DEL of {name} failed afterwards: {one}" for name, one in gone.items() if one.status]
        whole = not self.check(self.live())
        if len(made) < BONDS - whole:
            found.append(f"the pool gave only {len(made)} bonds to the next ADDs")
        return self.or_whole(found, config)

    def or_whole(self, found: list[str], config: Json) -> list[str]:
        """Give what is wrong; an attachment that is whole is not, and its DEL must bring all back."""
        if not found and (wrong := self.check()):
            return wrong if self.check(self.live()) else self.need("DEL", config) or self.check()
        return found

    # -- cases

    def case(self, variant: str, verb: str, kind: str, only: int = 0) -> None:
        """Meet every point of one verb."""
        began = time.monotonic()
        config = VARIANTS[variant]
        row: Json = {
            "variant": variant,
            "verb": verb,
            "kind": kind,
            "points": 0,
            "runs": 0,
            "leaks": 0,
            "met": [],
            "all": [],
            "ways": {},
        }
        turn = self.turn + len(self.rows)  # so that cases do not all begin with the same way
        number = only or 1
        while True:
            tries = self.tries(kind, number + turn)
            if not all(self.point(row, config, number, error, way) for error, way in tries) or only:
                break
            number += 1
            if number % 10 == 0:
                tell(event="progress", case=f"{variant} {verb} {kind}", points=number, leaks=row["leaks"])
        row["points"] = number - 1
        row["seconds"] = round(time.monotonic() - began, 1)
        row["checking"], self.checking = round(self.checking, 1), 0.0
        self.rows.append(row)
        tell(event="row", **row)

    def tries(self, kind: str, turn: int) -> list[tuple[str, str]]:
        """Give the errors and ways back with which a point is met: one of each in turn, or each way and each error."""
        errors = ERRORS_OF.get(kind, ERRORS)
        if not self.everything:
            return [(errors[turn % len(errors)], WAYS[turn % len(WAYS)])]
        if "fail" in kind:
            return [(errors[(turn + place) % len(errors)], way) for place, way in enumerate(WAYS)]
        return [("", way) for way in WAYS]

    def point(self, row: Json, config: Json, number: int, error: str, way: str) -> bool:
        """Meet one point, go one way back, and check; tell whether the point was there."""
        verb, kind = row["verb"], row["kind"]
        who, action = KINDS[kind]
        if verb == "DEL" and (wrong := self.need("ADD", config)):
            self.leak(row, number, "before", "", way, wrong)
            self.repair()
        order = f"{who}:{number}:{action}" + (f"={getattr(errno, error)}" if action == "fail" else "")
        self.traced = traced = Traced(self.tracer, order, self.environ(verb, "c1", netns("c1")), json.dumps(config).encode())
        said = traced.main()
        if way not in ("DEL", "netns gone"):
            traced.all()  # a delegate that goes on has the bond's lock, and these let it be
        words = next((words for whose, point, words in traced.points if (whose, point) == (who, number)), None)
        if words is None:
            row["all"] = [words for whose, _, words in traced.points if whose == who]
            refused = row["variant"] == "refused" and said.code == TAKEN
            wrong = [f"{verb} failed with no point met: {said}"] if said.status and not refused else []
            wrong += self.need("DEL", config) or self.check()
        else:
            wrong = []
            if action == "fail" and error == "EBUSY" and words.startswith(HELD):
                wrong += self.released()
            if action == "fail" or kind == "delegate":
                wrong += self.badly_said(said, words) or self.untrue(said, verb, config)
            wrong += self.way_back(way, config)
            row["met"].append(words)
            row["runs"] += 1
            row["ways"][way] = row["ways"].get(way, 0) + 1
        traced.all()
        if row["variant"] == "host-local":
            self.drop_ownerless()
        if wrong:
            what = f"{words or 'none'}{' fails with ' + error if action == 'fail' else ''}"
            self.leak(row, number, what, str(said), way, wrong)
            self.repair()
        return words is not None

    def released(self) -> list[str]:
        """Bring the bond back, as its operator would, that is set aside because something else seems to hold a VF of it."""
        done = self.control("release", "db/cbond1")
        return [f"release failed: {done}"] if done.status or "out of quarantine" not in done.stdout else []

    def untrue(self, said: Call, verb: str, config: Json) -> list[str]:
        """Say what is not as the plugin said, which was not killed."""
        if said.status == 0 and verb == "ADD":
            try:
                document = json.loads(said.stdout)
            except ValueError:
                return [f"an ADD succeeded without a result, {said}"]
            wrong = self.check(self.live())
            # CHECK knows what the outside checker cannot see of a live attachment, e.g. its VLAN.
            known = self.call("CHECK", {**config, "prevResult": document})
            wrong += [f"its CHECK failed: {known}"] if known.status else []
            return [f"after an ADD that said that it succeeded: {line}" for line in wrong]
        if said.status == 0:
            return [f"after a DEL that said that it succeeded: {line}" for line in self.check()]
        # One call fails in each run, and in "refused", whose ADD fails anyway, it may be one of the undo's own.
        if verb == "ADD" and config is not VARIANTS["refused"]:
            return [f"after an ADD that said that it failed: {line}" for line in self.check()]
        return []

    def badly_said(self, said: Call, words: str) -> list[str]:
        """Say what is wrong with how a call failed: it must be one error document, and no bug.

        When the document could not be written, one line on standard error, which libcni then tells.
        """
        if said.status == 0:
            return []
        if words.startswith("write stdout") and not said.stdout:
            return [] if re.fullmatch(r"\S[^\n]*\n", said.stderr) else [f"it did not say why, {said}"]
        try:
            document = json.loads(said.stdout)
            proper = isinstance(document["code"], int) and document["msg"] and document["code"] != BUG
        except (ValueError, KeyError, TypeError):
            proper = False
        if os.waitstatus_to_exitcode(said.status) != 1 or not proper or "Traceback" in said.stderr:
            return [f"it failed badly, {said}"]
        return []

    def leak(self, row: Json, number: int, words: str, said: str, way: str, lines: list[str]) -> None:
        row["leaks"] += 1
        self.leaks += 1
        case = f"{row['variant']} {row['verb']} {row['kind']}"
        tell(event="leak", case=case, point=number, call=words, way=way, said=said, lines=lines)

    def drop_ownerless(self) -> None:
        """Delete what a killed host-local leaves: a reservation without a word in it."""
        for name in os.listdir(NETWORKS) if os.path.isdir(NETWORKS) else []:
            if name[:1].isdigit() and os.stat(f"{NETWORKS}/{name}").st_size == 0:
                os.unlink(f"{NETWORKS}/{name}")

    def repair(self) -> None:
        """Bring all back by force, so that one leak is not told twice."""
        self.call("DEL", VARIANTS["own"])
        for name in OTHERS:
            self.call("DEL", VARIANTS["own"], name)
        if not self.check():
            return
        for name in ("c1", *OTHERS):
            delete_netns(name)
            make_netns(name)
        deadline = time.monotonic() + HOME_SECONDS
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
    tell(event="end", leaks=sweep.leaks)
    return 1 if sweep.leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
