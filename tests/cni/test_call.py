"""The checks of a call that both plugins share, and their order: environment, document, identifiers, version, arguments."""

import json
from typing import Any

import pytest

from cni_sriov_bond import CNI_VERSIONS
from cni_sriov_bond.cni import call
from cni_sriov_bond.errors import DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG, INVALID_ENVIRONMENT, CniError

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
DOCUMENT = {"name": "net1", "cniVersion": "1.0.0"}


def parsed(environ: dict[str, str], document: object = DOCUMENT) -> call.Call:
    return call.parse_call({**ENVIRONMENT, **environ}, lambda: json.dumps(document).encode())


# -- a whole call


def test_a_call_has_the_environment_and_the_config() -> None:
    """Variables, the bytes of the config and its document, and the version of the answer."""
    raw = b' {"cniVersion":"0.4.0" ,"name":"net1"}'
    accepted = call.parse_call({**ENVIRONMENT, "CNI_ARGS": "A=1", "X": "y"}, lambda: raw)
    assert (accepted.command, accepted.container_id, accepted.netns, accepted.ifname) == ("ADD", "c1", "/run/netns/c1", "eth0")
    assert (accepted.path, accepted.args, accepted.environ["X"]) == ("/opt/cni/bin", "A=1", "y")
    assert (accepted.raw, accepted.document, accepted.version) == (raw, {"cniVersion": "0.4.0", "name": "net1"}, "0.4.0")


def test_the_checks_have_the_order_of_the_reference() -> None:
    """Each mistake hides the later ones: environment, document, identifiers, verb, version."""
    faults: list[tuple[dict[str, str], object, int, str]] = [
        ({"CNI_PATH": "", "CNI_IFNAME": "a/b"}, [], INVALID_ENVIRONMENT, "required env variables [CNI_PATH] missing"),
        ({"CNI_IFNAME": "a/b"}, [], DECODING_FAILURE, "error unmarshall network config"),
        ({"CNI_IFNAME": "a/b"}, {"cniVersion": "9"}, INVALID_CONFIG, "missing network name"),
        ({"CNI_IFNAME": "a/b"}, {"name": "n", "cniVersion": "9"}, INVALID_ENVIRONMENT, "the interface name 'a/b'"),
        ({"CNI_COMMAND": "NOPE"}, {"name": "n", "cniVersion": "9"}, INVALID_ENVIRONMENT, "unknown CNI_COMMAND: NOPE"),
        ({}, {"name": "n", "cniVersion": "9"}, INCOMPATIBLE_VERSION, "incompatible CNI versions"),
    ]
    for environ, document, code, message in faults:
        with pytest.raises(CniError) as refused:
            parsed(environ, document)
        assert (refused.value.code, refused.value.msg[: len(message)]) == (code, message)


def test_standard_input_is_not_read_with_an_incomplete_environment() -> None:
    """A call whose environment is incomplete is refused before it can block on its input."""
    with pytest.raises(CniError, match="missing"):
        call.parse_call({"CNI_COMMAND": "GC"}, lambda: pytest.fail("standard input was read"))


# -- CNI_ARGS: one parser, strict or tolerant


KNOWN = ("IP", "MAC", "VLAN")


@pytest.mark.parametrize(
    ("args", "known", "pairs"),
    [
        ("", (), {}),
        ("", KNOWN, {}),
        ("IP=10.0.0.5;K8S_POD_NAME=p", (), {"IP": "10.0.0.5", "K8S_POD_NAME": "p"}),
        ("A=b=c;K=", (), {"A": "b=c", "K": ""}),
        ("VLAN=1;VLAN=2", KNOWN, {"VLAN": "2"}),
        ("IgnoreUnknown=1;IP=10.0.0.5;FOO=1", KNOWN, {"IP": "10.0.0.5", "FOO": "1"}),
        ("IgnoreUnknown=TRUE;FOO=1", KNOWN, {"FOO": "1"}),
        ("IgnoreUnknown=0;IP=x", KNOWN, {"IP": "x"}),
        ("IgnoreUnknown=0;FOO=1", (), {"FOO": "1"}),
    ],
)
def test_arguments_are_pairs(args: str, known: tuple[str, ...], pairs: dict[str, str]) -> None:
    """IgnoreUnknown is not returned (contract 4, 37 to 40)."""
    assert call.parse_args(args, known) == pairs
    assert call.parse_args(args, known, strict=False) == pairs


@pytest.mark.parametrize(
    ("args", "known", "message", "left"),
    [
        ("FOO", (), "invalid pair 'FOO'", {}),
        ("A=1;", (), "invalid pair ''", {"A": "1"}),
        ("=1;B=2", (), "invalid pair '=1'", {"B": "2"}),
        ("IgnoreUnknown=yes;B=2", (), "IgnoreUnknown 'yes' is neither true nor false", {"B": "2"}),
        ("IP;VLAN=5", KNOWN, "invalid pair 'IP'", {"VLAN": "5"}),
        ("IP=a=b;VLAN=5", KNOWN, "invalid pair 'IP=a=b'", {"VLAN": "5"}),
        ("IP=a;FOO=1;BAR=2", KNOWN, "unknown keys: FOO, BAR", {"IP": "a", "FOO": "1", "BAR": "2"}),
        ("IgnoreUnknown=false;FOO=1", KNOWN, "unknown keys: FOO", {"FOO": "1"}),
        ("IgnoreUnknown=maybe;IP=a", KNOWN, "IgnoreUnknown 'maybe'", {"IP": "a"}),
    ],
)
def test_bad_arguments_are_refused_or_left_out(args: str, known: tuple[str, ...], message: str, left: dict[str, str]) -> None:
    """An ADD refuses them; other verbs skip them."""
    with pytest.raises(CniError) as refused:
        call.parse_args(args, known)
    assert refused.value.code == INVALID_ENVIRONMENT
    assert message in refused.value.msg
    assert call.parse_args(args, known, strict=False) == left


# -- the environment (E3 to E10)


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_all_missing_variables_are_named_at_once(verb: str, missing: str) -> None:
    """Each verb's missing variables are listed in the order of the reference (E3, E4, E5, E7)."""
    with pytest.raises(CniError) as refused:
        call.check_environment({"CNI_COMMAND": verb})
    assert refused.value.code == INVALID_ENVIRONMENT
    assert refused.value.msg == f"required env variables [{missing}] missing"


def test_an_empty_variable_is_a_missing_one() -> None:
    """An empty variable is reported like an absent one (E8)."""
    with pytest.raises(CniError, match=r"\[CNI_NETNS,CNI_PATH\]"):
        call.check_environment({**ENVIRONMENT, "CNI_NETNS": "", "CNI_PATH": ""})


def test_del_needs_no_netns() -> None:
    """Most DELs have no CNI_NETNS (E4, D4)."""
    assert parsed({"CNI_COMMAND": "DEL", "CNI_NETNS": ""}).netns == ""


@pytest.mark.parametrize("name", ["a", "0", "c-1_2.3", "k8s.io-" + "f" * 64, "x" * 4096])
def test_container_ids_of_runtimes_pass(name: str) -> None:
    """What containerd, nerdctl and cnitool send is accepted (E9)."""
    call.check_identifiers("ADD", name, "eth0")


@pytest.mark.parametrize("name", ["_a", "-a", ".a", "../x", "ab\n", "a b", "é", "a/b", "a:b", "\udcff", "\u0661"])
def test_a_bad_container_id_is_refused_and_shown(name: str) -> None:
    """An invalid container id, also one with a trailing newline, is refused with the value in the details (E9)."""
    with pytest.raises(CniError) as refused:
        call.check_identifiers("ADD", name, "eth0")
    assert (refused.value.code, refused.value.msg) == (INVALID_ENVIRONMENT, "invalid characters in containerID")
    assert refused.value.details == name


@pytest.mark.parametrize("name", ["e", "eth0", "net1", "a" * 15, "é" * 7, "x@y", "eth0.100"])
def test_device_names_pass(name: str) -> None:
    """A name that the kernel accepts is accepted (E10)."""
    call.check_identifiers("ADD", "c1", name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 16, "longer than 15 bytes"),
        ("é" * 8, "longer than 15 bytes"),
        ("a/b", "not valid for a network device"),
        ("a:b", "not valid for a network device"),
        (".", "not valid for a network device"),
        ("..", "not valid for a network device"),
        ("a b", "not valid for a network device"),
        ("a\u00a0b", "not valid for a network device"),
        ("a\u2003b", "not valid for a network device"),
        ("eth0\n", "not valid for a network device"),
        ("a\x01", "not valid for a network device"),
        ("lo", "loopback"),
        ("eth%d", "expands as a name template"),
    ],
)
def test_a_bad_interface_name_is_refused_and_shown(name: str, message: str) -> None:
    """An invalid name is refused before anything is done; length counts in bytes, and Unicode spaces are invalid (E10)."""
    with pytest.raises(CniError, match=message) as refused:
        call.check_identifiers("ADD", "c1", name)
    assert refused.value.code == INVALID_ENVIRONMENT
    assert "CNI_IFNAME" in refused.value.msg
    assert name == "lo" or repr(name) in refused.value.msg


@pytest.mark.parametrize("name", ["all", "default", "bonding_masters"])
def test_a_name_of_the_kernel_is_refused(name: str) -> None:
    """No device can have it: the kernel answers EINVAL or EEXIST, which say nothing of the name (E10)."""
    with pytest.raises(CniError, match=f"the interface name {name} is reserved: .*change CNI_IFNAME") as refused:
        call.check_identifiers("ADD", "c1", name)
    assert refused.value.code == INVALID_ENVIRONMENT


@pytest.mark.parametrize("name", ["eth%d", "all"])
def test_a_name_that_no_device_can_have_does_not_stop_a_del(name: str) -> None:
    """The ADD with it failed, and the runtime then sends a DEL (D3)."""
    call.check_identifiers("DEL", "c1", name)


# -- the document (C1 to C11)


@pytest.mark.parametrize(
    "text",
    [b"", b"  \n", b"{", b"{}x", b"{}{}", b"\xef\xbb\xbf{}", b"[]", b'"x"', b"5", b"true", b"NaN", b"{'name':'x'}", b"\x00"],
)
def test_a_config_that_is_not_an_object_is_refused(text: bytes) -> None:
    """Anything but one JSON object is a decoding failure with a reason (C1)."""
    with pytest.raises(CniError, match=r"^error unmarshall network config: .") as refused:
        call.parse_json(text)
    assert refused.value.code == DECODING_FAILURE


@pytest.mark.parametrize("text", [b"null", b"{}", b'{"name":""}', b'{"name":null}'])
def test_a_missing_network_name_is_reported(text: bytes) -> None:
    """An absent name, an empty one and null are the same mistake (C2, C3)."""
    with pytest.raises(CniError, match=r"^missing network name$") as refused:
        call.parse_json(text)
    assert refused.value.code == INVALID_CONFIG


@pytest.mark.parametrize("name", ["../x", "_a", "a b", "a/b", "net\n", "é", "a\udcffb"])
def test_a_bad_network_name_is_refused_and_shown(name: str) -> None:
    """A name with other characters is refused, with the value in the details (C3)."""
    with pytest.raises(CniError, match=r"^invalid characters found in network name$") as refused:
        call.parse_json(json.dumps({"name": name}).encode())
    assert (refused.value.code, refused.value.details) == (INVALID_CONFIG, name)


@pytest.mark.parametrize(
    "text", [b'{"name":5}', b'{"name":["a"]}', b'{"name":"a","cniVersion":1}', b'{"name":"a","cniVersion":[]}']
)
def test_a_name_or_version_of_another_type_is_a_decoding_failure(text: bytes) -> None:
    """A number as name or version is a decoding failure, as in Go (C3, C5)."""
    with pytest.raises(CniError, match="must be a string") as refused:
        call.parse_json(text)
    assert refused.value.code == DECODING_FAILURE


def test_bad_utf8_is_replaced() -> None:
    """An invalid byte becomes U+FFFD, as in Go, except in names (C10)."""
    assert call.parse_json(b'{"name":"a","x":"\xff\xfe"}')["x"] == "\ufffd\ufffd"
    with pytest.raises(CniError, match="invalid characters found in network name"):
        call.parse_json(b'{"name":"a\xff"}')


def test_wide_encodings_are_not_guessed() -> None:
    """UTF-16 is refused: json.loads would have guessed it from the bytes (C10)."""
    with pytest.raises(CniError, match="error unmarshall"):
        call.parse_json('{"name":"a"}'.encode("utf-16"))


# -- the version (C4, C6, K1, S1, G1)


@pytest.mark.parametrize("value", [{}, {"cniVersion": ""}, {"cniVersion": None}])
def test_no_version_is_the_first_one(value: dict[str, Any]) -> None:
    """A config without a version has version 0.1.0 (C4)."""
    assert call.check_version(value, "ADD") == "0.1.0"


@pytest.mark.parametrize("version", CNI_VERSIONS)
def test_every_listed_version_is_served(version: str) -> None:
    """ADD and DEL support each version that VERSION lists (V2)."""
    assert call.check_version({"cniVersion": version}, "ADD") == version
    assert call.check_version({"cniVersion": version}, "DEL") == version


@pytest.mark.parametrize("version", ["9.9.9", "1.0", "banana", "1.0.0 ", "v1.0.0", "0.3", "1.2.0"])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_an_unknown_version_is_refused_with_the_known_ones(version: str, verb: str) -> None:
    """The version must be equal to a supported one; the details have both sides (C6)."""
    with pytest.raises(CniError, match=r"^incompatible CNI versions$") as refused:
        call.check_version({"cniVersion": version}, verb)
    assert refused.value.code == INCOMPATIBLE_VERSION
    assert refused.value.details.startswith(f'config is "{version}", plugin supports ["0.1.0" "0.2.0"')


@pytest.mark.parametrize(
    ("verb", "last_refused", "first_served"),
    [("CHECK", "0.3.1", "0.4.0"), ("GC", "1.0.0", "1.1.0"), ("STATUS", "1.0.0", "1.1.0")],
)
def test_a_verb_is_refused_below_its_version(verb: str, last_refused: str, first_served: str) -> None:
    """CHECK, GC and STATUS exist from their version on (K1, G1, S1)."""
    with pytest.raises(CniError, match=f"^config version does not allow {verb}$") as refused:
        call.check_version({"cniVersion": last_refused}, verb)
    assert (refused.value.code, last_refused in refused.value.details) == (INCOMPATIBLE_VERSION, True)
    assert call.check_version({"cniVersion": first_served}, verb) == first_served


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("banana", 6),
        ("1.0.0 ", 6),
        ("v1.0.0", 6),
        ("1.1.0.0", 6),
        ("1..0", 6),
        ("9" * 5000, 6),
        ("9.9.9", 1),
        ("1.2", 1),
        ("0.3", 1),
    ],
)
@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS"])
def test_the_later_verbs_require_a_version_of_numbers(verb: str, version: str, code: int) -> None:
    """Text that is not a version is a decoding failure there; an unsupported version is incompatible (C6)."""
    with pytest.raises(CniError) as refused:
        call.check_version({"cniVersion": version}, verb)
    assert refused.value.code == code


# -- what GC must keep (G2 to G8)


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_the_list_of_valid_attachments_is_read_under_both_names(key: str) -> None:
    """The text of the specification had another name for it; null and [] are both empty lists (G2, G3, G5)."""
    entries = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1", "x": 5}]
    assert call.valid_attachments({key: entries}, INVALID_CONFIG) == {("c1", "eth0"), ("c2", "net1")}
    assert call.valid_attachments({key: []}, INVALID_CONFIG) == set()
    assert call.valid_attachments({key: None}, INVALID_CONFIG) == set()
    assert call.valid_attachments({}, INVALID_CONFIG) is None


@pytest.mark.parametrize(
    "entries",
    [
        {}, "c1", 5, True, [None], ["c1"], [[]], [{}], [{"containerID": "c1"}], [{"ifname": "eth0"}],
        [{"containerID": 1, "ifname": "eth0"}], [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "", "ifname": "x"}],
    ],
)  # fmt: skip
def test_a_malformed_list_is_refused(entries: Any) -> None:
    """Nothing is freed by a malformed list; each plugin has its own error code for it (G8)."""
    for code in (INVALID_CONFIG, DECODING_FAILURE):
        with pytest.raises(CniError, match=r"cni\.dev/valid-attachments") as refused:
            call.valid_attachments({"cni.dev/valid-attachments": entries}, code)
        assert refused.value.code == code
