"""Thousands of hostile calls: whatever comes in, what comes out is the contract's, and nothing is left behind."""

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.cni import result, schema
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.ipam.schema import NETWORK as DELEGATE
from tests.fuzz import campaign, case, delegates, mutate, samples
from tests.network.test_schema import heads, our_heads
from tests.support import program

SEED = 20230
CALLS = 2200
ERROR = '{"cniVersion":"1.0.0","code":7,"msg":"it is wrong","details":""}'


@pytest.mark.root
def test_no_call_is_answered_as_the_contract_forbids(frozen: Path, tmp_path: Path) -> None:
    """Configs, variables, prevResults, delegates and streams of every bad kind; addresses against a model of them."""
    found = campaign.run(frozen, SEED, CALLS, tmp_path, print)
    print(found.table())
    print(found.summary())
    assert found.failures == []
    assert found.calls > CALLS
    reached = {(program, verb, code) for program, verb, code in found.counts if code >= 0}
    # What the calls are for: each of these is far behind the first checks.
    assert reached >= {
        ("sriov-bond", "ADD", 104),
        ("sriov-bond", "ADD", 11),
        ("sriov-bond", "CHECK", 103),
        ("sriov-bond", "DEL", 0),
        ("sriov-bond", "DEL", 102),
        ("sriov-bond", "GC", 0),
        ("sriov-bond", "GC", 102),
        ("sriov-bond", "STATUS", 0),
        ("sriov-bond", "STATUS", 102),
        ("sriov-bond-ipam", "ADD", 0),
        ("sriov-bond-ipam", "ADD", 105),
        ("sriov-bond-ipam", "CHECK", 0),
        ("sriov-bond-ipam", "STATUS", 50),
    }


@pytest.mark.root
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"echo '{ERROR}'; echo '{ERROR}'; exit 1", "not one document"),
        (f"echo 'Traceback (most recent call last):' >&2; echo '{ERROR}'; exit 1", "standard error has"),
        (f"echo '{ERROR}'; exit 2", "exit status 2"),
        ("exit 1", "a failure without an error document"),
        (f"echo '{ERROR.replace('7', '199')}'; exit 1", "the code 199 is not documented"),
        (f"echo '{ERROR.replace('7', '42')}'; exit 1", "the code 42 is not documented"),
        (f"echo '{ERROR.replace('7', 'true')}'; exit 1", "the code True is none"),
        (f"echo '{ERROR.replace('it is wrong', '')}'; exit 1", "msg is empty"),
        (f"echo '{ERROR.replace('it is wrong', 'KeyError')}'; exit 1", "msg is no sentence"),
        (f"echo x >/tmp/left.1; echo '{ERROR}'; exit 1", "/tmp/left.1 is new"),
        (f"/bin/rm -r /run/fuzz/data; echo '{ERROR}'; exit 1", "/run/fuzz/data/net1/10.1.0.15 is gone"),
        (f"/usr/bin/tail -f /dev/null & echo '{ERROR}'; exit 1", "processes left: ['tail']"),
        ("kill -SEGV $$", "exit status -11"),
        ("while :; do :; done", "no answer within 5 s"),
    ],
)
def test_what_the_contract_forbids_is_seen(tmp_path: Path, body: str, words: str) -> None:
    """A program that breaks one rule of the contract is found by one call, with that call's files kept."""
    product = tmp_path / "product"
    (product / "opt/cni/bin").mkdir(parents=True)
    for name in (case.PLUGIN, case.IPAM):
        program(product / "opt/cni/bin", name, body)
    told: list[str] = []
    number = next(one for one in range(100) if (made := case.make(SEED, one)).verb == "ADD" and not made.streams)
    found = campaign.run(product, SEED, 0, tmp_path / "kept", told.append, (str(number),))
    assert [name for name, _ in found.failures] == [str(number)]
    assert words in " ".join(found.failures[0][1])
    kept = tmp_path / "kept" / f"{SEED}-{number}"
    assert sorted(path.name for path in kept.iterdir()) == ["delegate", "env", "said", "stdin", "wrong"]
    assert (kept / "env").read_bytes().split(b"\0") == made.environ
    assert (kept / "stdin").read_bytes() == made.stdin
    assert f"./dev fuzz --seed {SEED} --case {number}" in " ".join(told)


@pytest.mark.root
def test_addresses_that_nobody_may_have_are_seen(tmp_path: Path) -> None:
    """A delegate that gives everybody one address is found by the model."""
    product = tmp_path / "product"
    (product / "opt/cni/bin").mkdir(parents=True)
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.1/29"}]}'
    program(product / "opt/cni/bin", case.IPAM, f"""[ "$CNI_COMMAND" != ADD ] || echo '{answer}'""")
    found = campaign.run(product, SEED, 0, tmp_path / "kept", print, ("s0", "s1", "s2"))
    assert {name for name, _ in found.failures} == {"s0", "s1", "s2"}


def test_a_seed_makes_the_same_calls_again() -> None:
    """A failing call is told by two numbers, and they are enough."""
    assert [case.make(3, number) for number in range(300)] == [case.make(3, number) for number in range(300)]
    assert case.make(3, 1) != case.make(4, 1)


def test_no_answer_of_a_delegate_is_more_than_refused() -> None:
    """What an ADD is answered is a result, which can be told in each version, or a CniError; there is no third (I5, I8)."""
    dice = random.Random(SEED)
    taken = refused = 0
    for _ in range(15000):
        text = delegates.answer(dice).decode("utf-8", "replace")
        version = dice.choice(VERSIONS)
        try:
            found = result.parse(text, version, "the IPAM plugin x")
        except CniError as wrong:
            assert wrong.msg.startswith("the IPAM plugin x returned no valid CNI result: ")
            refused += 1
            continue
        taken += 1
        ours = result.of_interface({"name": "eth0"}, found, {})
        try:
            told = json.loads(result.build(result.join(found, ours), version))
        except (CniError, RecursionError):  # no address in an old version; and the edge tells of depth
            continue
        assert told["cniVersion"] == version
    assert taken > 2000
    assert refused > 2000


def parts(value: Any, level: int = 0) -> list[tuple[int, Any]]:
    """Give everything in a value, with how deep it is; what is deeper than any schema is not taken apart."""
    found = [(level, value)]
    if level < 30 and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            found += parts(part, level + 1)
    return found


def is_fair(value: Any) -> bool:
    """Tell whether the library may be asked: fractions that are whole it judges otherwise, and depth it does not survive."""
    found = parts(value)
    whole = [one for _, one in found if isinstance(one, float) and one.is_integer()]
    return not whole and len(found) < 2000 and max(level for level, _ in found) < 30


def test_the_verdict_on_a_damaged_config_is_the_librarys() -> None:
    """Each key that jsonschema complains of is named by our check, and no other. Fractions: see tests/network."""
    dice = random.Random(SEED)
    library = jsonschema.Draft202012Validator(DELEGATE)
    verdicts = [0, 0]
    for _ in range(3000):
        value = samples.network(dice, "host-local") if dice.random() < 0.6 else samples.addresses(dice)
        value = mutate.structure(
            dice, value, dice.choice((0, 1, 2, 4)), ("plugin", "plugin", "ipam", "range", "route", "delegate")
        )
        if not is_fair(value):
            continue
        assert our_heads(value) == heads(value), value
        assert bool(schema.issues(value, DELEGATE)) == (not library.is_valid(value)), value
        verdicts[bool(heads(value))] += 1
    assert min(verdicts) > 300
