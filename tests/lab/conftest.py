"""Fixtures of the tests that use the product in the lab."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.guests import GUESTS
from tests.lab.product import STATE_DIR, Product, Snapshot, look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Guest
    from tests.lab.lab import Lab

POOL_FILE = f"{STATE_DIR}/db/pool.json"
REST_SECONDS = 5.0


@pytest.fixture
def installed(lab: "Lab") -> Product:
    """Return the product in the guest, with no pool yet."""
    return Product(lab.guest)


@pytest.fixture
def provisioned(installed: Product) -> Product:
    """Return the product with the pool db of seven bonds, which remains for the next test that uses it."""
    if POOL_FILE not in installed.guest.tree(STATE_DIR):
        installed.provision()
    return installed


@pytest.fixture
def product(provisioned: Product, pytestconfig: pytest.Config) -> "Iterator[Product]":
    """Return the product with its pool. After the test the host must be as before, which is checked from outside.

    If it is not, the guest is ended too, so that the tests after it fail for their own reasons only.
    """
    guest = provisioned.guest
    before, baseline = look(guest), guest.ask("baseline")["before"]
    yield provisioned
    if guest.lost is not None:
        return  # nothing to compare; the test is repeated
    different = changes(before, look(guest)) + left_behind(guest, baseline)
    if different:
        pytestconfig.stash[GUESTS].close()
    assert different == []


def left_behind(guest: "Guest", baseline: dict[str, Any]) -> list[str]:
    """Return the violations that the outside checker reports at rest; killed processes need a moment to end."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        violations: list[str] = guest.ask("check", before=baseline)["violations"]
        if not violations or time.monotonic() > deadline:
            return violations


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the differences between two snapshots of the host."""
    differences = []
    for name in sorted({*before.links, *after.links}):
        was, now = before.links.get(name), after.links.get(name)
        if was != now:
            differences.append(f"{name}: {was} became {now}")
    if before.namespaces != after.namespaces:
        differences.append(f"namespaces {before.namespaces} became {after.namespaces}")
    for path in sorted({*before.files, *after.files}):
        if before.files.get(path) != after.files.get(path):
            differences.append(f"{path}: {before.files.get(path, b'no file')!r} became {after.files.get(path, b'no file')!r}")
    differences += [f"{name} is promiscuous" for name in after.promiscuous if name in ("enp1s0", "enp2s0")]
    return differences
