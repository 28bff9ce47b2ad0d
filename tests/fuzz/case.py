"""One hostile call, generated from a seed and a number: the same two numbers give the same call."""

import random
from dataclasses import dataclass, field

from tests.fuzz import delegates, mutate, samples, values
from tests.fuzz.delegates import Delegate

PLUGIN, IPAM = "sriov-bond", "sriov-bond-ipam"
_VERBS = (b"ADD",) * 9 + (b"DEL",) * 5 + (b"CHECK",) * 2 + (b"GC",) * 3 + (b"STATUS",) * 2
_NO_VERBS = (b"VERSION", b"", b"add", b"NOPE", b"ADD ", b"\xff", b"ADD\nDEL", b"X" * 5000)
_NETNS = (samples.BOX,) * 6 + ("/run/netns/gone", "/run/fuzz/fifo", "/run/fuzz/file", "/proc/self/ns/net", "/dev/null", "/")
_STREAMS = ("closed", "full", "unread")
# Variables that no runtime sets, but that may be in its environment.
_FOREIGN = (
    b"=x", b"nothing", b"A==b=", b"\xff=\xfe", b"PYTHONHOME=/nowhere", b"PYTHONPATH=/run/fuzz", b"PYTHONINSPECT=1",
    b"PYTHONVERBOSE=1", b"PYTHONMALLOC=x", b"PYTHONHASHSEED=x", b"PYTHONUTF8=x", b"PYTHONIOENCODING=x", b"LC_ALL=x\xff",
    b"LANG=tr_TR.ISO-8859-9", b"TMPDIR=/nowhere", b"LD_LIBRARY_PATH=/run/fuzz", b"PYTHONTRACEMALLOC=x", b"PYTHONWARNINGS=error",
    b"CNI_COMMAND=DEL", b"CNI_NETNS_OVERRIDE=1", b"HOME=", b"PYTHONSAFEPATH=", b"TZ=:/dev/zero", b"PYTHONDEVMODE=1",
)  # fmt: skip


@dataclass
class Case:
    """A call: the program, the entries of its environment, its input, and the state of the host.

    ``stdin`` None means a closed one. ``world`` names the content of the state directory (``Sandbox.reset``).
    """

    program: str
    environ: list[bytes]
    stdin: bytes | None
    delegate: Delegate = field(default_factory=Delegate)
    streams: dict[str, str] = field(default_factory=dict)
    world: str = "leased"
    stdin_directory: bool = False

    def variable(self, name: bytes) -> bytes:
        """Return a variable as the program sees it: the first entry of a name counts."""
        for entry in self.environ:
            key, equals, value = entry.partition(b"=")
            if equals and key == name:
                return value
        return b""

    @property
    def verb(self) -> str:
        """The value of CNI_COMMAND."""
        return self.variable(b"CNI_COMMAND").decode("utf-8", "replace")


def make(seed: int, number: int) -> Case:
    """Generate a call."""
    dice = random.Random(f"{seed} {number}")
    if dice.random() < 0.03:
        return _deep(dice)
    program = PLUGIN if dice.random() < 0.62 else IPAM
    verb = dice.choice(_VERBS) if dice.random() < 0.95 else dice.choice(_NO_VERBS)
    delegate = delegates.make(dice)
    value = _config(dice, program, verb.decode("latin-1"))
    environ = _environ(dice, verb)
    changes = dice.choice((0, 0, 1, 1, 1, 2, 3, 6))
    mutated = dice.choice(("config", "config", "config", "environ", "both"))
    if mutated != "environ":
        parts = ("plugin", "plugin", "ipam") if program == PLUGIN else ("ipam", "range", "route", "delegate", "ipam")
        value = mutate.structure(dice, value, changes, parts)
    if mutated != "config":
        environ = _changed(dice, environ, changes)
    stdin: bytes | None = mutate.text(dice, value)
    if dice.random() < 0.12:
        stdin = mutate.raw(dice, stdin or b"")
    case = Case(
        program, environ, stdin, delegate, world=dice.choice(("leased", "leased", "leased", "empty", "full", "damaged"))
    )
    if dice.random() < 0.04:
        case.streams[dice.choice(("out", "err"))] = dice.choice(_STREAMS)
    elif dice.random() < 0.01:
        case.stdin, case.stdin_directory = (None, False) if dice.random() < 0.5 else (b"", True)
    return case


def _deep(dice: random.Random) -> Case:
    """Return a valid call that has something to do, with a delegate that writes to stderr and one unusable stream."""
    verb = dice.choice((b"DEL", b"DEL", b"GC", b"STATUS", b"ADD"))
    value = {**samples.network(dice, "odd"), "name": "net1", "cniVersion": "1.1.0"}
    names = (b"CNI_CONTAINERID=", b"CNI_IFNAME=")
    environ = [entry for entry in _environ(dice, verb) if not entry.startswith(names)]
    environ += [names[0] + (b"new" if verb == b"ADD" else b"c1"), names[1] + b"eth0"]
    case = Case(PLUGIN, environ, mutate.text(dice, value), Delegate(b"echo loud >&2\nexit 0\n"))
    case.streams[dice.choice(("out", "err", "err"))] = dice.choice(_STREAMS)
    return case


def silent() -> Case:
    """Return the call whose delegate does not answer before the plugin's deadline. It takes 45 s, so a run has only one."""
    dice = random.Random(0)
    value = samples.network(dice, "odd")
    return Case(PLUGIN, _environ(dice, b"DEL"), mutate.text(dice, value), delegates.SILENT, world="empty")


def _config(dice: random.Random, program: str, verb: str) -> dict[str, object]:
    if program == PLUGIN:
        value = samples.network(dice, dice.choice(("", "odd", "odd", IPAM, "nowhere")))
    else:
        value = samples.addresses(dice)
    value["cniVersion"] = samples.version(dice, verb)
    if verb == "GC" and dice.random() < 0.9:
        valid = [
            {"containerID": container_id, "ifname": "eth0"} for container_id in ("c1", "c2", "c3", "x") if dice.random() < 0.5
        ]
        value[dice.choice((samples.VALID, samples.VALID, "cni.dev/attachments"))] = dice.choice(
            (valid, valid, None, values.value(dice))
        )
    if dice.random() < (0.95 if verb == "CHECK" else 0.3):
        before = samples.result(str(samples.version(dice, verb)))
        value["prevResult"] = mutate.structure(dice, before, dice.choice((0, 0, 1, 3)), ("route",))
    return value


def _environ(dice: random.Random, verb: bytes) -> list[bytes]:
    path = f"{samples.BIN}:/run/product/opt/cni/bin" if dice.random() < 0.8 else samples.BIN
    return [
        b"CNI_COMMAND=" + verb,
        b"CNI_CONTAINERID=" + dice.choice((b"c1", b"c1", b"c2", b"new")),
        b"CNI_IFNAME=" + dice.choice((b"eth0", b"eth0", b"net1")),
        b"CNI_NETNS=" + dice.choice(_NETNS).encode(),
        b"CNI_PATH=" + path.encode(),
        b"CNI_ARGS=" + dice.choice(samples.ARGS),
        b"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def _changed(dice: random.Random, environ: list[bytes], number: int) -> list[bytes]:
    for _ in range(number):
        kind = dice.random()
        index = dice.randrange(len(environ))
        name = environ[index].partition(b"=")[0]
        if kind < 0.15:
            del environ[index]
            environ = environ or [b"X="]
        elif kind < 0.3:
            environ.insert(dice.randrange(len(environ) + 1), dice.choice(_FOREIGN))
        elif kind < 0.55:
            environ[index] = b"CNI_ARGS=" + _args(dice)
        elif kind < 0.65:
            environ[index] = name + b"=" + dice.choice(values.ODD_PATHS).replace("\0", "").encode("utf-8", "surrogatepass")
        elif name != b"PATH":
            environ[index] = name + b"=" + values.word(dice)
    return environ


def _args(dice: random.Random) -> bytes:
    """Return CNI_ARGS, some of them malformed."""
    keys = (b"IP", b"VLAN", b"MAC", b"IgnoreUnknown", b"K8S_POD_NAME", b"ip", b"")
    pairs = [dice.choice(keys) + dice.choice((b"=", b"=", b"=", b"", b"==")) + values.word(dice)[:6000] for _ in range(3)]
    return dice.choice((b";", b";", b";;", b"&")).join(pairs[: dice.randrange(1, 4)])
