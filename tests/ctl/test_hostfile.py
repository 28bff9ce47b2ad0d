"""The host file: what it may say, and every mistake in it at once."""

from pathlib import Path

import pytest

from cni_sriov_bond.ctl import hostfile
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError

TWO = 'pfs = ["enp1s0", "enp2s0"]'


def read(tmp_path: Path, text: str | bytes) -> list[hostfile.PoolPlan]:
    path = tmp_path / "sriov-bond.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return hostfile.read(str(path))


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(CniError) as refused:
        read(tmp_path, text)
    assert refused.value.code == INVALID_CONFIG
    assert refused.value.msg.startswith(f"{tmp_path}/sriov-bond.toml")
    return refused.value.msg


def test_two_nics_are_enough(tmp_path: Path) -> None:
    """A pool needs its NICs named and no more: as many VFs as they have, called as the paper calls them."""
    [plan] = read(tmp_path, f"[pools.db]\n{TWO}\n")
    assert plan == hostfile.PoolPlan("db", ("enp1s0", "enp2s0"), (1, 2), None, "VF{nic}{vf}", "cbond{n}")


def test_every_key_is_taken(tmp_path: Path) -> None:
    """Number of VFs and both name patterns are the operator's if he says so."""
    text = f'[pools.db]\n{TWO}\nvfs = 63\nvf_name = "p{{nic}}v{{vf}}"\nbond_name = "bond{{n:03}}"\n'
    [plan] = read(tmp_path, text)
    assert (plan.vfs, plan.vf_name, plan.bond_name) == (63, "p{nic}v{vf}", "bond{n:03}")
    assert read(tmp_path, f'[pools.db]\n{TWO}\nvfs = "max"\n')[0].vfs is None
    assert read(tmp_path, f"[pools.db]\n{TWO}\nvfs = 1\n")[0].vfs == 1


@pytest.mark.parametrize(
    ("lines", "required", "indices"),
    [
        ('vfs = "0-2"', 3, [0, 1, 2]),
        ('vfs = "1-2,5"', 6, [1, 2, 5]),
        ('vfs = "0-5"\nexclude = [1, "3-4"]', 6, [0, 2, 5]),
        ("vfs = 6\nexclude = [0]", 6, [1, 2, 3, 4, 5]),
        ('exclude = ["4-63"]', None, [0, 1, 2, 3]),
    ],
)
def test_a_pool_may_own_some_of_the_vfs(tmp_path: Path, lines: str, required: int | None, indices: list[int]) -> None:
    """The others are another user's, so the NIC may have more VFs than the pool needs."""
    [plan] = read(tmp_path, f"[pools.db]\n{TWO}\n{lines}\n")
    assert (plan.shares, plan.required, plan.indices(required or 7)) == (True, required, indices)


def test_a_number_of_vfs_is_all_of_them(tmp_path: Path) -> None:
    for lines, indices in (("vfs = 3", [0, 1, 2]), ('vfs = "max"', [0, 1, 2, 3, 4, 5, 6]), ("", [0, 1, 2, 3, 4, 5, 6])):
        [plan] = read(tmp_path, f"[pools.db]\n{TWO}\n{lines}\n")
        assert (plan.shares, plan.indices(plan.required or 7)) == (False, indices)


def test_nics_are_numbered_over_the_whole_file(tmp_path: Path) -> None:
    """VFs' names are one space, so the second pool's NICs go on counting; a pool may have more than two."""
    text = f'[pools.db]\n{TWO}\n[pools.web]\npfs = ["0000:03:00.0", "c", "d"]\n[pools.x]\npfs = ["e", "f"]\n'
    plans = read(tmp_path, text)
    assert [(plan.name, plan.nics) for plan in plans] == [("db", (1, 2)), ("web", (3, 4, 5)), ("x", (6, 7))]
    assert plans[1].pfs == ("0000:03:00.0", "c", "d")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: pools is missing; write a table [pools.NAME]"),
        ("pools = 5", "line 1: pools must be tables [pools.NAME], not 5"),
        ("[pools]", "line 1: pools must have a table [pools.NAME]"),
        (f"[db]\n{TWO}", "line 1: db is not a known key; allowed: docker, pools"),
        ("[pools]\ndb = 5", "line 2: pools.db must be a table, [pools.NAME], not 5"),
        ("[pools.db]", "line 1: pools.db.pfs is missing; it must be a list of NICs"),
        ('[pools.db]\npfs = "enp1s0"', "pfs must be a list of NICs"),
        ("[pools.db]\npfs = [1, 2]", "pools.db.pfs[0] must be the name, an altname or the PCI address of a NIC, not 1"),
        (
            '[pools.db]\npfs = ["a", "b/c"]',
            'pools.db.pfs[1] must be the name, an altname or the PCI address of a NIC, not "b/c"',
        ),
        ('[pools.db]\npfs = ["a", ""]', 'pools.db.pfs[1] must be the name, an altname or the PCI address of a NIC, not ""'),
        ('[pools.db]\npfs = ["enp1s0"]', "pfs must name two NICs, one on each switch, not 1"),
        ("[pools.db]\npfs = []", "pfs must name two NICs"),
        ('[pools.db]\npfs = ["a", "a"]', 'line 2: pools.db.pfs[1] must be another NIC: pools.db.pfs[0] is "a" already'),
        (
            f"[pools.a]\n{TWO}\n[pools.b]\npfs = ['enp2s0', 'x']",
            'line 4: pools.b.pfs[0] must be another NIC: pools.a.pfs[1] is "enp2s0" already',
        ),
        (
            f"[pools.db]\n{TWO}\nvfs = 0",
            'vfs must be a number from 1 to 65535, "max", or VFs such as "0-15" or "0-7,12-15", not 0',
        ),
        (f"[pools.db]\n{TWO}\nvfs = true", "vfs must be a number from 1"),
        (f"[pools.db]\n{TWO}\nvfs = 'all'", "vfs must be a number from 1"),
        (f"[pools.db]\n{TWO}\nvfs = 6.0", "vfs must be a number from 1"),
        (
            f"[pools.db]\n{TWO}\nmtu = 9000",
            "line 3: pools.db.mtu is not a known key; allowed: bond_name, exclude, pfs, vf_name, vfs",
        ),
        (f'[pools."a/b"]\n{TWO}', "must have a name of at most 64 letters"),
        (f'[pools.".."]\n{TWO}', "must have a name of at most 64 letters"),
        (f'[pools."{"p" * 65}"]\n{TWO}', "must have a name of at most 64 letters"),
        (f'[pools.db]\n{TWO}\nvf_name = "vf{{vf}}"', "vf_name must have {nic} and {vf}"),
        (f'[pools.db]\n{TWO}\nvf_name = "{{nic}}{{vf}}{{x}}"', "vf_name must be a pattern with {nic} and {vf}"),
        (f'[pools.db]\n{TWO}\nvf_name = "{{nic}}{{vf"', "vf_name must be a pattern"),
        (f'[pools.db]\n{TWO}\nvf_name = "{{nic.a}}{{vf}}"', "vf_name must be a pattern"),
        (f"[pools.db]\n{TWO}\nvf_name = 5", "vf_name must be a pattern"),
        (f'[pools.db]\n{TWO}\nbond_name = "bond"', "bond_name must have {n}"),
        (f'[pools.db]\n{TWO}\nbond_name = "{{}}"', "bond_name must be a pattern with {n}"),
        (f'[pools.db]\n{TWO}\nbond_name = "a-long-name-for-{{n}}"', "must give names of at most 15 letters"),
        (f'[pools.db]\n{TWO}\nbond_name = "b.{{n}}"', "must give names of"),
        (f'[pools.db]\n{TWO}\nbond_name = "b/{{n}}"', "must give names of"),
        (f'[pools.db]\n{TWO}\nbond_name = "b {{n}}"', "must give names of"),
        (f'[pools.db]\n{TWO}\nvf_name = "VF{{nic:06}}x{{vf:09}}"', "must give names of"),
        (f'[pools.db]\n{TWO}\nbond_name = "{{n:%Y}}"', "bond_name must be a pattern"),
        ("[pools.db", "line 1: is not valid TOML"),
        (f"[pools.db]\n{TWO}\n[pools.db]\n{TWO}", "line 3: is not valid TOML: pools.db is there twice; keep one of them"),
        (f"[pools.db]\n{TWO}\n\n[pools]\ndb.vfs = 3", "line 5: is not valid TOML: pools.db is there twice"),
        (f"[pools.db]\r\n{TWO}\r\n[pools.db]\r\n", "line 3: is not valid TOML: pools.db is there twice"),
        (f"[pools.db]\n{TWO}\n{TWO}", "line 3: is not valid TOML: the key pfs is there twice in its table; remove one"),
        (
            '[pools.db]\npfs = ["enp1s0\t", "b"]',
            "line 2: pools.db.pfs[0] must be the name, an altname or the PCI address of a NIC",
        ),
        ('[pools.db]\n\tpfs = [\t"a", "b"]\n\tvfs\t=\t0', "line 3: pools.db.vfs must be a number from 1"),
        ("[pools.db]\n\u00a0pfs = 1", "line 2: is not valid TOML: it has the character U+00A0 (not an ordinary space)"),
        (
            "[pools.db]\npfs = [\u201ca\u201d]",
            "line 2: is not valid TOML: it has the character U+201C (not a straight quotation",
        ),
        (f"[pools.db]\n{TWO}\n\ufeff[pools.web]", "line 3: is not valid TOML: it has the character U+FEFF (a byte order mark)"),
        (b"\xff", "line 1: is not UTF-8: it has the byte 0xff"),
        (f"[pools.db]\n{TWO}".encode("utf-16"), "line 1: starts with the byte order mark of UTF-16; save it as UTF-8"),
        (f'[pools.db]\n{TWO}\nvfs = "7-3"', 'line 3: pools.db.vfs must have the lower VF of a range first, not "7-3"'),
        (
            f'[pools.db]\n{TWO}\nvfs = "5"',
            'line 3: pools.db.vfs must be a number from 1 to 65535, "max", or VFs such as "0-15"',
        ),
        (f'[pools.db]\n{TWO}\nvfs = "0-65535"', "line 3: pools.db.vfs must have VFs from 0 to 65534"),
        (f"[pools.db]\n{TWO}\nexclude = 3", 'line 3: pools.db.exclude must be a list of VFs, e.g. [3, "8-11"], not 3'),
        (f'[pools.db]\n{TWO}\nexclude = ["a"]', 'pools.db.exclude[0] must be a VF such as 3, or VFs such as "8-11", not "a"'),
        (f'[pools.db]\n{TWO}\nvfs = 4\nexclude = ["0-3"]', "line 4: pools.db.exclude must leave a VF of vfs 4"),
        (f"\ufeff[pools.db]\n{TWO}", "line 1: starts with a byte order mark"),
        (f'[pools."db\\n"]\n{TWO}', "must have a name of at most 64 letters"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str | bytes, words: str) -> None:
    """Each mistake names the file, the pool and the key, and says what would be right."""
    assert words in refusal(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Mistakes of several pools are one error."""
    message = refusal(tmp_path, "x = 1\n[pools.a]\npfs = ['e']\nvfs = 0\n[pools.b]\nbond_name = 'b'\n")
    for words in ("x is", "pools.a.pfs", "pools.a.vfs", "pools.b.pfs", "pools.b.bond_name"):
        assert words in message


@pytest.mark.parametrize("numbers", ["{nic}{vf}", "{vf}{nic}"])
def test_names_that_run_together_are_refused(tmp_path: Path, numbers: str) -> None:
    """Digits side by side would call VF 1 of NIC 11 and VF 11 of NIC 1 alike, where a file has so many NICs."""
    pools = "".join(f'[pools.p{number}]\npfs = ["a{number}", "b{number}"]\nvf_name = "v{numbers}"\n' for number in range(6))
    assert "vf_name" in refusal(tmp_path, pools)
    assert len(read(tmp_path, pools.replace(numbers, "{nic}x{vf}"))) == 6


def test_bonds_of_two_pools_may_have_one_name(tmp_path: Path) -> None:
    """A bond's name is known by its pool; only VFs are devices of the host."""
    assert len(read(tmp_path, f"[pools.a]\n{TWO}\n[pools.b]\npfs = ['x', 'y']\n")) == 2


def test_a_missing_file_is_told_with_an_example(tmp_path: Path) -> None:
    """Who has no host file yet is shown one."""
    with pytest.raises(CniError, match=r"there is no .*/none.toml; write one, e\.g\.  pools\.db = {pfs = ") as refused:
        hostfile.read(str(tmp_path / "none.toml"))
    assert refused.value.code == IO_FAILURE


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A directory in its place is an error that names it."""
    with pytest.raises(CniError, match=f"{tmp_path} cannot be read: Is a directory") as refused:
        hostfile.read(str(tmp_path))
    assert refused.value.code == IO_FAILURE


def test_what_has_no_end_is_no_host_file() -> None:
    with pytest.raises(CniError, match="/dev/zero is larger than 1 MiB") as refused:
        hostfile.read("/dev/zero")
    assert refused.value.code == INVALID_CONFIG


def test_the_example_for_a_missing_file_is_one(tmp_path: Path) -> None:
    with pytest.raises(CniError) as refused:
        hostfile.read(str(tmp_path / "none"))
    [plan] = read(tmp_path, refused.value.msg.partition("e.g.  ")[2])
    assert plan.pfs == ("enp1s0", "enp2s0")


def test_a_number_that_no_nic_has_is_refused_at_once(tmp_path: Path) -> None:
    assert 'vfs must be a number from 1 to 65535, "max", or VFs such as "0-15" or "0-7,12-15", not 99999999' in refusal(
        tmp_path, f"[pools.db]\n{TWO}\nvfs = 99999999\n"
    )
