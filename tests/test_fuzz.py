"""Thousands of hostile calls: every answer is one that the contract allows, and nothing is left behind."""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.cni import result, schema
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.ipam.schema import NETWORK as DELEGATE
from tests.fuzz import campaign, case, delegates, mutate, process, samples
from tests.network.test_schema import heads, our_heads
from tests.support import program

SEED = 20230
CALLS = 2200
ERROR = '{"cniVersion":"1.0.0","code":7,"msg":"it is wrong","details":""}'


@pytest.mark.root
def test_no_call_is_answered_as_the_contract_forbids(frozen: Path, tmp_path: Path) -> None:
    """Bad configs, variables, prevResults, delegates and streams of all kinds; addresses are compared with a model."""
    results = campaign.run(frozen, SEED, CALLS, tmp_path, print)
    print(results.table())
    print(results.summary())
    assert results.failures == []
    assert results.calls > CALLS
    reached = {(program, verb, code) for program, verb, code in results.counts if code >= 0}
    # The calls must get far beyond the first checks.
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
        (f"echo '{ERROR.replace('7', 'true')}'; exit 1", "the code True is invalid"),
        (f"echo '{ERROR.replace('it is wrong', '')}'; exit 1", "msg is empty"),
        (f"echo '{ERROR.replace('it is wrong', 'KeyError')}'; exit 1", "msg is not a sentence"),
        (f"echo x >/tmp/left.1; echo '{ERROR}'; exit 1", "/tmp/left.1 is new"),
        (f"/bin/rm -r /run/fuzz/data; echo '{ERROR}'; exit 1", "/run/fuzz/data/net1/10.1.0.15 was removed"),
        (f"/usr/bin/tail -f /dev/null & echo '{ERROR}'; exit 1", "processes left: ['tail']"),
        ("kill -SEGV $$", "exit status -11"),
        ("while :; do :; done", "no answer within 5 s"),
    ],
)
def test_a_violation_of_the_contract_is_detected(tmp_path: Path, body: str, words: str) -> None:
    """One call detects a program that breaks one rule of the contract, and its files are saved."""
    product = tmp_path / "product"
    (product / "opt/cni/bin").mkdir(parents=True)
    for name in (case.PLUGIN, case.IPAM):
        program(product / "opt/cni/bin", name, body)
    lines: list[str] = []
    cases = ((candidate, case.make(SEED, candidate)) for candidate in range(100))
    number, made = next((candidate, made) for candidate, made in cases if made.verb == "ADD" and not made.streams)
    results = campaign.run(product, SEED, 0, tmp_path / "kept", lines.append, (str(number),))
    assert [name for name, _ in results.failures] == [str(number)]
    assert words in " ".join(results.failures[0][1])
    folder = tmp_path / "kept" / f"{SEED}-{number}"
    assert sorted(path.name for path in folder.iterdir()) == ["delegate", "env", "outcome", "stdin", "wrong"]
    assert (folder / "env").read_bytes().split(b"\0") == made.environ
    assert (folder / "stdin").read_bytes() == made.stdin
    assert f"./dev fuzz --seed {SEED} --case {number}" in " ".join(lines)


def test_a_call_ends_no_other_child_of_the_process_that_makes_it() -> None:
    """tests/cni makes calls in pytest's own process, which has guests and the second run of the lab's tests."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        outcome = process.run("/bin/sh", case.Case("sriov-bond", [], b""), 5)
        assert (outcome.status, outcome.left) == (0, [])
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.root
def test_an_address_with_two_owners_is_detected(tmp_path: Path) -> None:
    """The model detects an IPAM plugin that allocates the same address every time."""
    product = tmp_path / "product"
    (product / "opt/cni/bin").mkdir(parents=True)
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.1/29"}]}'
    program(product / "opt/cni/bin", case.IPAM, f"""[ "$CNI_COMMAND" != ADD ] || echo '{answer}'""")
    results = campaign.run(product, SEED, 0, tmp_path / "kept", print, ("s0", "s1", "s2"))
    assert {name for name, _ in results.failures} == {"s0", "s1", "s2"}


def test_a_seed_generates_the_same_calls_again() -> None:
    """Seed and number are enough to repeat a failing call."""
    assert [case.make(3, number) for number in range(300)] == [case.make(3, number) for number in range(300)]
    assert case.make(3, 1) != case.make(4, 1)


def test_every_answer_of_a_delegate_is_a_result_or_refused() -> None:
    """An answer to ADD is a result that can be written in each version, or a CniError (I5, I8)."""
    dice = random.Random(SEED)
    taken = refused = 0
    for _ in range(15000):
        text = delegates.answer(dice).decode("utf-8", "replace")
        version = dice.choice(VERSIONS)
        try:
            parsed = result.parse(text, version, "the IPAM plugin x")
        except CniError as wrong:
            assert wrong.msg.startswith("the IPAM plugin x returned no valid CNI result: ")
            refused += 1
            continue
        taken += 1
        ours = result.of_interface({"name": "eth0"}, parsed, {})
        try:
            document = json.loads(result.build(result.join(parsed, ours), version))
        except (CniError, RecursionError):  # an old version needs an address; cni/process reports too deep nesting
            continue
        assert document["cniVersion"] == version
    assert taken > 2000
    assert refused > 2000


def parts(value: Any, level: int = 0) -> list[tuple[int, Any]]:
    """Return every value inside a value, with its depth; not below the depth that any schema has."""
    values = [(level, value)]
    if level < 30 and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            values += parts(part, level + 1)
    return values


def is_comparable(value: Any) -> bool:
    """Return whether jsonschema can judge a value: it takes 1.0 for an integer, and fails on deep nesting."""
    values = parts(value)
    integral = [part for _, part in values if isinstance(part, float) and part.is_integer()]
    return not integral and len(values) < 2000 and max(level for level, _ in values) < 30


def test_a_mutated_config_is_judged_as_by_jsonschema() -> None:
    """Our check names exactly the keys that jsonschema names; for fractions see tests/network."""
    dice = random.Random(SEED)
    library = jsonschema.Draft202012Validator(DELEGATE)
    verdicts = [0, 0]
    for _ in range(3000):
        value = samples.network(dice, "host-local") if dice.random() < 0.6 else samples.addresses(dice)
        value = mutate.structure(
            dice, value, dice.choice((0, 1, 2, 4)), ("plugin", "plugin", "ipam", "range", "route", "delegate")
        )
        if not is_comparable(value):
            continue
        assert our_heads(value) == heads(value), value
        assert bool(schema.issues(value, DELEGATE)) == (not library.is_valid(value)), value
        verdicts[bool(heads(value))] += 1
    assert min(verdicts) > 300
