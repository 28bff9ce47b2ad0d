"""Docker's runtime entry and version."""

import json

import pytest

from cni_sriov_bond.doctor.check import FAILURE, PASS, SKIPPED, WARNING
from tests.doctor.fake_host import FakeHost

DAEMON = "/etc/docker/daemon.json"
RUNTIME = "/usr/local/sbin/sriov-bond-runtime"


def dockerd(fake: FakeHost, version: str = "26.1.5+dfsg1", body: str = "") -> None:
    fake.write("/usr/sbin/dockerd", f"#!/bin/sh\n{body or f'echo Docker version {version}, build a72d7cd'}\n", 0o755)


def config(fake: FakeHost, **keys: object) -> None:
    fake.write(DAEMON, json.dumps({"runtimes": {"sriov-bond": {"path": RUNTIME}}, **keys}))


def test_without_docker_there_is_nothing_to_check(fake: FakeHost) -> None:
    for check in ("docker-runtime", "docker-version"):
        assert [finding.result for finding in fake.check(check)] == [SKIPPED]


def test_the_runtime_entry_is_there_and_can_be_executed(fake: FakeHost) -> None:
    dockerd(fake)
    config(fake)
    fake.write(RUNTIME, "", 0o755)
    sound = lambda: config(fake)  # noqa: E731
    words = "Docker has no runtime sriov-bond"
    finding = fake.broken_and_repaired("docker-runtime", lambda: fake.remove(DAEMON), words, sound, WARNING)
    assert "sriov-bondctl docker config --write" in finding.remedy
    fake.broken_and_repaired("docker-runtime", lambda: fake.write(DAEMON, "{"), "is not valid JSON", sound)
    fake.broken_and_repaired("docker-runtime", lambda: fake.write(DAEMON, "[]"), "is not a JSON object", sound)
    fake.broken_and_repaired("docker-runtime", lambda: config(fake, runtimes={"sriov-bond": {}}), "has no path", sound)
    repair = lambda: fake.write(RUNTIME, "", 0o755)  # noqa: E731
    fake.broken_and_repaired("docker-runtime", lambda: fake.remove(RUNTIME), f"is {RUNTIME}, which cannot be executed", repair)
    config(fake, runtimes={"sriov-bond": {"path": "sriov-bond-runtime"}})
    assert fake.passes("docker-runtime"), "dockerd looks a name up"


@pytest.mark.parametrize(
    ("version", "resources", "result"),
    [
        ("20.10.24+dfsg1", [], WARNING),
        ("20.10.24+dfsg1", ["sriov-bond=cbond1"], FAILURE),
        ("23.0.1", ["sriov-bond=cbond1"], FAILURE),
        ("23.0.2", ["sriov-bond=cbond1"], PASS),
        ("28.5", ["sriov-bond=cbond1"], PASS),
    ],
)
def test_docker_keeps_tasks_with_generic_resources(fake: FakeHost, version: str, resources: list[str], result: str) -> None:
    dockerd(fake, version)
    config(fake, **{"node-generic-resources": resources})
    assert [finding.result for finding in fake.check("docker-version")] == [result]


@pytest.mark.parametrize("body", ["echo nonsense", "exit 1", "printf '\\377'"])
def test_a_docker_that_tells_no_version_is_a_warning(fake: FakeHost, body: str) -> None:
    dockerd(fake, body=body)
    words = "/usr/sbin/dockerd does not tell its version"
    [finding] = fake.wrong("docker-version")
    assert (finding.result, finding.sentence) == (WARNING, words)
    dockerd(fake)
    assert fake.passes("docker-version")
