"""``sriov-bondctl check`` and ``schema``: every kind of mistake, on real files."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond.ctl.__main__ import main
from tests.support import REPOSITORY

POOL = '[pools.db]\npfs = ["enp1s0", "enp2s0"]\n'
NETWORK = """{
  "cniVersion": "1.0.0",
  "name": "db",
  "plugins": [
    {
      "type": "sriov-bond",
      "vlan": 100,
      "ipam": {
        "type": "sriov-bond-ipam",
        "ranges": [
          [{"subnet": "10.100.0.0/24"}]
        ]
      }
    }
  ]
}
"""


class Checked:
    """What `check` said of one file."""

    def __init__(self, status: int, lines: list[str]) -> None:
        self.status = status
        self.lines = lines

    def mistake(self, *mistakes: str) -> None:
        """Assert that these are all mistakes, without the file's path in front."""
        assert (self.status, self.lines) == (3, list(mistakes))


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Check one file with a name and a content."""

    def run(name: str, content: str | bytes) -> Checked:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        status = main(["check", str(path)])
        out, err = capsys.readouterr()
        assert err == ""
        return Checked(status, [line.removeprefix(str(path)).removeprefix(":") for line in out.splitlines()])

    return run


# -- files


@pytest.mark.parametrize("path", sorted((REPOSITORY / "conf").glob("*.*")), ids=lambda path: path.name)
def test_every_sample_is_well(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Host file and networks of conf/; the units and the dashboard are in directories."""
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok\n"


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file has its line, and one that is wrong does not hide the next."""
    good = tmp_path / "good.conflist"
    good.write_text(NETWORK)
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    names = ["none.toml", ".", "zero.toml", "fifo.toml", "other.yaml", "good.conflist"]
    assert main(["check", *(f"{tmp_path}/{name}" for name in names)]) == 1
    assert capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines() == [
        "none.toml: cannot be read: No such file or directory",
        ".: cannot be read: Is a directory",
        "zero.toml: is larger than 1 MiB; a config is a small file",
        "fifo.toml:1: pools: is missing; write a table [pools.NAME]",
        "other.yaml: has an unknown suffix: a host file ends in .toml, a list of plugins in .conflist, a single plugin in "
        ".conf or .json",
        "good.conflist: ok",
    ]


def test_the_report_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/reference.md has these keys."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(POOL)
    bad.write_text(f"{POOL}vfs = 0\n")
    assert main(["check", str(good), str(bad)]) == 3
    capsys.readouterr()
    assert main(["check", "--json", str(good), str(bad), str(tmp_path / "none.toml")]) == 1
    words = 'must be a number from 1 to 65535, "max", or VFs such as "0-15" or "0-7,12-15", not 0'
    assert json.loads(capsys.readouterr().out) == {
        "files": [
            {"file": str(good), "ok": True, "mistakes": []},
            {"file": str(bad), "ok": False, "mistakes": [{"line": 3, "path": "pools.db.vfs", "problem": words}]},
            {
                "file": str(tmp_path / "none.toml"),
                "ok": False,
                "mistakes": [{"line": None, "path": "", "problem": "cannot be read: No such file or directory"}],
            },
        ]
    }


def test_without_a_file_the_usage_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    assert ended.value.code == 2
    assert "usage: sriov-bondctl check" in capsys.readouterr().err


def test_an_ordinary_user_may_check() -> None:
    """It reads files and no leases, so an editor or a CI job can run it."""
    # The libraries first: the venv may be where only root may read.
    code = (
        "import os, sys, jsonschema; from cni_sriov_bond.ctl import check; from cni_sriov_bond.ctl.__main__ import main\n"
        "os.setuid(65534); sys.exit(main(sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory, "sriov-bond.toml")
        path.write_text(POOL)
        command = [sys.executable, "-c", code, "check", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: ok\n", "")


# -- host files


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("\ufeff" + POOL, ["1: starts with a byte order mark; save it as UTF-8 without one"]),
        (b"[pools.db]\n# \xe4\n", ["2: is not UTF-8: it has the byte 0xe4; save it as UTF-8"]),
        (POOL + POOL, ["3: is not valid TOML: pools.db is there twice; keep one of them"]),
        (f"{POOL}vfs = 1\nvfs = 2\n", ["4: is not valid TOML: the key vfs is there twice in its table; remove one"]),
        ("[pools.db]\npfs = [\n", ["2: is not valid TOML: Invalid value, at the end of the file"]),
        (f"{POOL}\x07", ["3: is not valid TOML: it has the character U+0007 (which is invisible); type it again"]),
        ("a = " + "[" * 5000, ["1: is not valid TOML: it is nested too deeply"]),
        ("[pools.db]\nvfs = 'all'\n\n[pool]\n", [
            '1: pools.db.pfs: is missing; it must be a list of NICs, e.g. ["enp1s0", "enp2s0"]',
            '2: pools.db.vfs: must be a number from 1 to 65535, "max", or VFs such as "0-15" or "0-7,12-15", not "all"',
            "4: pool: is not a known key; allowed: docker, pools",
        ]),
        ('pools.db = {pfs = [\n"a",\n"a"\n], vf_name = """x"""}\n', [
            '1: pools.db.vf_name: must have {nic} and {vf}, not "x"',
            '1: pools.db.pfs[1]: must be another NIC: pools.db.pfs[0] is "a" already',
        ]),
        # What looks like a key or a table in a value, and brackets in strings and comments.
        ('[pools."a b"]  # ]\npfs = ["[", \'{\',\n# vfs = 0\n]\n[pools.c]\nvf_name = \'\'\'{nic}\n[x]\n{vf}\'\'\'\n', [
            "1: pools.\"a b\": must have a name of at most 64 letters, digits, '_', '.' and '-'",
            '5: pools.c.pfs: is missing; it must be a list of NICs, e.g. ["enp1s0", "enp2s0"]',
            "6: pools.c.vf_name: must give names of at most 15 letters, digits, '_' and '-', not \"{nic}\\n[x]\\n{vf}\"",
        ]),
        ("[[pools]]\n[[pools]]\n", ["1: pools: must be tables [pools.NAME], not [{}, {}]"]),
        ("[pools.db]\npfs = 2020-01-01\n", [
            '2: pools.db.pfs: must be a list of NICs, e.g. ["enp1s0", "enp2s0"], not 2020-01-01'
        ]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_host_file_has_its_line(check: Any, text: str | bytes, mistakes: list[str]) -> None:
    check("sriov-bond.toml", text).mistake(*mistakes)


def test_a_tab_in_a_host_file_is_no_mistake(check: Any) -> None:
    """TOML takes tabs for spaces."""
    done = check("sriov-bond.toml", '[pools.db]\n\tpfs\t=\t["a",\t"b"]\n\tvfs\t= 0\n')
    done.mistake('3: pools.db.vfs: must be a number from 1 to 65535, "max", or VFs such as "0-15" or "0-7,12-15", not 0')
    assert check("sriov-bond.toml", '[pools.db]\n\tpfs\t=\t["a",\t"b"]\n').lines == [" ok"]


# -- network files


@pytest.mark.parametrize(
    ("old", "new", "mistakes"),
    [
        ('"vlan": 100', '"vlan": 5000', ["7: plugins[0].vlan: must be from 0 to 4094, not 5000"]),
        ('"vlan": 100', '"vlan": 1.0', ["7: plugins[0].vlan: must be a whole number, not 1.0"]),
        ('"vlan": 100', '"vlan": true', ["7: plugins[0].vlan: must be a whole number, not true"]),
        ('"vlan": 100', '"vlann": 100', ["7: plugins[0].vlann: is not a known key; did you mean vlan?"]),
        ('"vlan": 100', '"trust": "yes"', ['7: plugins[0].trust: must be one of on, off, leave, not "yes"']),
        ('"vlan": 100', '"vlanAllowed": []', ["7: plugins[0].vlanAllowed: must have 1 to 4096 entries, not 0"]),
        ('"vlan": 100', '"vlan": 1, "vlan": 2', [
            "7: plugins[0].vlan: is there twice; readers take the last one, so remove one"
        ]),
        # Rules that a schema cannot say.
        ('"vlan": 100', '"vlanQoS": 3', ["7: plugins[0].vlanQoS: vlanQoS and vlanProto 802.1ad need a vlan of 1 to 4094"]),
        ('"vlan": 100', '"mac": "01:00:00:00:00:00", "vlan": 9999', [
            "7: plugins[0].vlan: must be from 0 to 4094, not 9999",
            "7: plugins[0].mac: mac '01:00:00:00:00:00' is not a unicast MAC; write it like 02:11:22:33:44:55",
        ]),
        ('"vlan": 100', '"min_tx_rate": 9,\n"max_tx_rate": 3', [
            "7: plugins[0].min_tx_rate: min_tx_rate 9 is above max_tx_rate 3"
        ]),
        # The list itself.
        ('"name": "db"', '"name": "a b"', ["3: name: must consist of letters, digits, '_', '.' and '-', not \"a b\""]),
        ('"name": "db",', "", ["1: name: is missing"]),
        ('"cniVersion": "1.0.0"', '"cniVersion": "2.0"', [
            '2: cniVersion: must be one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, not "2.0"'
        ]),
        ('"name": "db"', '"name": "db", "cniVersions": ["1.0.0", 5]', [
            "3: cniVersions[1]: must be one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, not 5"
        ]),
        ('"name": "db"', '"name": "db", "disableCheck": "no"', [
            '3: disableCheck: must be one of true, false, not "no"'
        ]),
        ('"type": "sriov-bond",', "", ["5: plugins[0].type: is missing"]),
        # Our IPAM plugin.
        ('[{"subnet": "10.100.0.0/24"}]', '{"subnet": "10.100.0.0/24"}', [
            '11: plugins[0].ipam.ranges[0]: must be a list, not {"subnet": "10.100.0.0/24"}'
        ]),
        ('"10.100.0.0/24"', '"10.100.0.0/33"', ["11: plugins[0].ipam.ranges[0][0]: '10.100.0.0/33' is not a network"]),
        ('"subnet": "10', '"vlan": 1, "subnet": 10, "x": "', [
            "11: plugins[0].ipam.ranges[0][0].subnet: must be a string, not 10"
        ]),
        # What is no document.
        ('"vlan": 100,', '"vlan": 100', [
            "8: is not valid JSON: Expecting ',' delimiter, at column 7"
        ]),
        ('"vlan": 100', '"a": "NaN", "vlan": NaN', ["7: is not valid JSON: it has no NaN"]),
        ('"vlan": 100', '"vlan": -Infinity', ["7: is not valid JSON: it has no -Infinity"]),
        ('"vlan": 100', f'"vlan": {"1" * 5000}', None),
        ('"vlan": 100', f'"vlan": {"[" * 100000}', ["1: is not valid JSON: it is nested too deeply"]),
        (NETWORK, "", ["1: is not valid JSON: Expecting value, at column 1"]),
        (NETWORK, "\ufeff" + NETWORK, ["1: starts with a byte order mark; save it as UTF-8 without one"]),
        (NETWORK, "[]", ["1: must be an object, not []"]),
        (NETWORK, "null", ["1: must be an object, not null"]),
        (NETWORK, '{"name": "db",\n"plugins": 5}', ["2: plugins: must be a list, not 5"]),
        (NETWORK, '{"name": "db",\n"plugins": []}', ["2: plugins: must have at least 1 entry, not 0"]),
        (NETWORK, '{"name": "db",\n"plugins": [\n5]}', ["3: plugins[0]: must be an object, not 5"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_network_has_its_line(check: Any, old: str, new: str, mistakes: list[str] | None) -> None:
    assert old in NETWORK
    done = check("db.conflist", NETWORK.replace(old, new))
    if mistakes is None:  # the sentence is Python's
        [mistake] = done.lines
        assert (done.status, mistake.startswith("1: is not valid JSON: ")) == (3, True)
    else:
        done.mistake(*mistakes)


def test_what_the_plugin_takes_is_no_mistake(check: Any) -> None:
    """Null and "" are absent, and a number of the bond may be a text of digits, as bond-cni has it."""
    taken = '"vlan": null, "mac": "", "miimon": "100", "mode": "1", "num_grat_arp": "5"'
    done = check("db.conflist", NETWORK.replace('"vlan": 100', taken))
    assert (done.status, done.lines) == (0, [" ok"])
    check("db.conflist", NETWORK.replace('"vlan": 100', f'{taken}, "mtu": 1')).mistake(
        "7: plugins[0].mtu: must be from 68 to 65535, not 1"
    )


def test_plugins_of_others_are_passed_over(check: Any) -> None:
    """Theirs may be anything; where our IPAM plugin serves them, its part is checked."""
    chain = (
        '{"name": "db", "plugins": [{"type": "bridge", "vlan": "x", "trust": 5, "ipam": {"type": "host-local", "ranges": 5}}]}'
    )
    done = check("db.conflist", chain)
    assert (done.status, done.lines) == (0, [" ok (no plugin of type sriov-bond in it)"])
    served = chain.replace("host-local", "sriov-bond-ipam")
    check("db.conflist", served).mistake("1: plugins[0].ipam.ranges: must be a list, not 5")
    check("db.conflist", served.replace(', "ranges": 5', "").replace('"vlan": "x", ', "")).mistake(
        "1: plugins[0].ipam: no IP ranges specified: ipam needs a subnet, ranges or subnets"
    )


@pytest.mark.parametrize("name", ["db.conf", "db.json"])
def test_a_single_plugin(check: Any, name: str) -> None:
    """The older form; a list under such a name is what no runtime takes."""
    single = '{"cniVersion": "1.0.0", "name": "db",\n"type": "sriov-bond",\n"vlan": -1}'
    check(name, single).mistake("3: vlan: must be from 0 to 4094, not -1")
    assert check(name, single.replace("-1", "1")).lines == [" ok"]
    check(name, NETWORK).mistake("4: plugins: is in lists only; give the file a name that ends in .conflist")


def test_foreign_text_does_not_reach_the_terminal_as_it_is(check: Any) -> None:
    """Neither escape sequences nor half a surrogate pair, which no output takes."""
    text = NETWORK.replace('"vlan": 100', '"trust": "\\u001b[2J", "\\ud800": 1, "vlan": "\\ud800"')
    check("db.conflist", text).mistake(
        '7: plugins[0].vlan: must be a whole number, not "\\ud800"',
        '7: plugins[0].trust: must be one of on, off, leave, not "\\u001b[2J"',
    )


# -- schemas


@pytest.mark.parametrize("name", ["network", "ipam", "host"])
def test_a_schema_is_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON Schema 2020-12, on standard output and nothing else there."""
    assert main(["schema", name]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_schema_of_networks_says_what_check_says(capsys: pytest.CaptureFixture[str]) -> None:
    """An editor that takes it shows the mistakes of our plugins, and passes over others."""
    assert main(["schema"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    for path in sorted((REPOSITORY / "conf").glob("*.conflist")):
        assert list(validator.iter_errors(json.loads(path.read_text()))) == []
    network = json.loads(NETWORK)
    [plugin] = network["plugins"]
    plugin["vlan"], plugin["ipam"]["ranges"] = 5000, 5
    places = {tuple(error.absolute_path) for error in validator.iter_errors(network)}
    assert places == {("plugins", 0, "vlan"), ("plugins", 0, "ipam", "ranges")}
    assert {tuple(error.absolute_path) for error in validator.iter_errors({**plugin, "name": "db"})} == {
        ("vlan",),
        ("ipam", "ranges"),
    }
    plugin["type"], plugin["ipam"]["type"] = "bridge", "host-local"
    assert list(validator.iter_errors(network)) == []
