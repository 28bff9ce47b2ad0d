"""The metrics: each fact as a sample, Prometheus' rules, and the dashboard's queries on a real prometheus."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from cni_sriov_bond.ctl import exposition, metrics
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.live import LiveBond, LiveLink, LiveNic, LivePort
from cni_sriov_bond.ctl.metrics import STATES, State
from cni_sriov_bond.ctl.status import BondStatus, PoolStatus
from cni_sriov_bond.pool import call_counters, inventory, quarantine
from cni_sriov_bond.pool.record import Attachment, LeaseRecord, NetnsIdentity, Requested
from cni_sriov_bond.ports import Bond, Port, VfSettings
from tests import measured, scraped
from tests.support import REPOSITORY, make_pool, ready

PORTS = (Port("0000:01:10.0", "VF11", "0000:01:00.0", 0), Port("0000:02:10.0", "VF21", "0000:02:00.0", 0))


def counters(factor: int) -> Counters:
    return Counters(*(factor * number for number in (1000, 10, 1, 2, 3000, 30, 3, 4)))


def nic(pool: str, number: int, factor: int) -> LiveNic:
    return LiveNic(pool, f"0000:0{number}:00.0", f"enp{number}s0", number, True, True, number == 1, counters(factor))


def leased_bond(factor: int) -> LiveBond:
    """Return a bond in active-backup whose first port is active; its counters grow with the factor."""
    attachment = Attachment("db", "c1", "eth0")
    record = LeaseRecord("db", Bond("cbond1", "02:00:00:00:00:01", list(PORTS)), attachment, NetnsIdentity("/n", 1, 2))
    record.requested = Requested(vf=VfSettings(vlan=100))
    record.created = 1_700_000_000
    nics = [LiveNic("db", port.pf_address, f"enp{number}s0", number) for number, port in enumerate(PORTS, 1)]
    ports = [
        LivePort(
            port.address, f"dev{index}", 0, nics[index], True, True, index == 0, "up", factor + index, counters=counters(factor)
        )
        for index, port in enumerate(PORTS)
    ]
    link = LiveLink(True, True, "02:00:00:00:00:01", 1500, {"mode": 1}, ["10.0.0.2/24"], 1, counters(factor))
    return LiveBond("db", "cbond1", "ready", record, attachment, ports, link)


def state(tmp_path: Path, factor: int = 1) -> State:
    """Return the state of a pool with a bond of each kind."""
    call_counters.create(str(tmp_path))
    for command, seconds, code in (("ADD", 0.2, None), ("ADD", 3.0, 11), ("DEL", 0.1, None)):
        call_counters.add(str(tmp_path), command, seconds, code)
    bonds = [BondStatus(f"cbond{number}", "", state, []) for number, state in enumerate(("ready", "free", "free", "broken"))]
    pool = PoolStatus("db", True, [], bonds, 2)
    other = PoolStatus("other", False, [], [], 0)
    nics = [nic("db", 1, factor), nic("db", 2, factor), nic("other", 2, factor)]
    return State([pool, other], nics, [leased_bond(factor)], call_counters.read(str(tmp_path)), ["pool x is damaged"])


def samples(value: State) -> dict[tuple[str, ...], float]:
    """Return the samples by name and the values of their labels, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in metrics.families(value)
        for sample in family.samples
    }


class Fixed(metrics.BondCollector):
    """A collector of a state that is given."""

    def __init__(self, value: State) -> None:
        super().__init__("")
        self._value = value

    def collect(self) -> list[Metric]:
        return list(metrics.families(self._value))


def text(value: State) -> str:
    return exposition.text(metrics.registry(Fixed(value)))


def test_pools_and_nics(tmp_path: Path) -> None:
    found = samples(state(tmp_path))
    sizes = {names[2]: value for names, value in found.items() if names[:2] == ("sriov_bond_pool_bonds", "db")}
    assert sizes == {**dict.fromkeys(STATES, 0), "ready": 1, "free": 2, "broken": 1}
    assert found["sriov_bond_pool_pending_dels", "db"] == 2
    assert (found["sriov_bond_pool_provisioned", "db"], found["sriov_bond_pool_provisioned", "other"]) == (1, 0)
    assert found["sriov_bond_unreadable_objects",] == 1
    assert found["sriov_bond_nic_carrier", "enp1s0", "0000:01:00.0"] == 1
    assert found["sriov_bond_nic_carrier", "enp2s0", "0000:02:00.0"] == 0
    assert found["sriov_bond_nic_transmit_bytes_total", "enp1s0", "0000:01:00.0"] == 3000
    infos = sorted(names[2:] for names in found if names[0] == "sriov_bond_nic_info")
    assert infos == [("enp1s0", "0000:01:00.0", "db"), ("enp2s0", "0000:02:00.0", "db"), ("enp2s0", "0000:02:00.0", "other")]


def test_pending_dels_of_the_hook(tmp_path: Path) -> None:
    pending = Path(f"{tmp_path}/state-oci/pending")
    pending.mkdir(parents=True)
    (pending / "a.eth0").write_text("{}")
    (pending / ".a.eth0.17").write_text("{")
    value = metrics.collect(str(tmp_path / "state"))
    assert samples(value)["sriov_bond_hook_pending_dels",] == 1


def test_a_leased_bond_and_its_ports(tmp_path: Path) -> None:
    """A port has the pool's name for it, whatever the container calls it."""
    found = samples(state(tmp_path, 2))
    lease = ("cbond1", "c1", "eth0", "active-backup", "db", "db", "ready", "100")
    assert found["sriov_bond_lease_info", *lease] == 1
    assert found["sriov_bond_lease_created_timestamp_seconds", "cbond1", "db"] == 1_700_000_000
    assert found["sriov_bond_carrier", "cbond1", "db"] == found["sriov_bond_active_ports", "cbond1", "db"] == 1
    numbers = {
        name: found[f"sriov_bond_{name}_total", "cbond1", "db"]
        for name in ("receive_bytes", "receive_packets", "receive_errors", "receive_dropped")
    }
    assert numbers == {"receive_bytes": 2000, "receive_packets": 20, "receive_errors": 2, "receive_dropped": 4}
    for name, wanted in (("active", (1, 0)), ("carrier", (1, 1)), ("up", (1, 1)), ("failures_total", (2, 3))):
        values = tuple(found[f"sriov_bond_port_{name}", "cbond1", f"enp{number}s0", "db", f"VF{number}1"] for number in (1, 2))
        assert values == wanted, name


def test_a_bond_that_cannot_be_read_has_its_lease_only(tmp_path: Path) -> None:
    value = state(tmp_path)
    ports = [port._replace(present=False, counters=None) for port in value.bonds[0].ports]
    gone = value.bonds[0]._replace(link=None, ports=ports, absence="the namespace of its container is gone")
    names = {names[0] for names in samples(value._replace(bonds=[gone]))}
    assert "sriov_bond_lease_info" in names
    assert {name for name in names if name.startswith(("sriov_bond_port", "sriov_bond_carrier", "sriov_bond_receive"))} == set()


def test_calls(tmp_path: Path) -> None:
    found = samples(state(tmp_path))
    buckets = [
        found["sriov_bond_call_duration_seconds_bucket", "ADD", bound] for bound in ("0.1", "0.25", "2.5", "5.0", "+Inf")
    ]
    assert buckets == [0, 1, 1, 2, 2], "each bucket has those of the buckets before it too"
    assert found["sriov_bond_call_duration_seconds_count", "ADD"] == 2
    assert found["sriov_bond_call_duration_seconds_sum", "ADD"] == pytest.approx(3.2)
    assert found["sriov_bond_call_failures_total", "11", "ADD"] == 1
    assert found["sriov_bond_call_failures_total", "other", "DEL"] == 0


def test_names_and_units_follow_the_rules(tmp_path: Path, prometheus: Path) -> None:
    """promtool is silent, and is not where a rule is broken."""
    page = text(state(tmp_path))
    assert scraped.lint(prometheus, page) == ""
    broken = page.replace("sriov_bond_nic_receive_bytes_total", "sriov_bond_nic_receive_bytes")
    assert 'should have "_total" suffix' in scraped.lint(prometheus, broken)


def test_every_query_of_the_dashboard_has_an_answer(tmp_path: Path, prometheus: Path) -> None:
    """Each query returns series with the labels of its legend; without leases those that need one do not."""
    first = text(state(tmp_path))
    second = state(tmp_path, 2)
    with scraped.running(prometheus, tmp_path) as server:
        for page in (first, text(second)):
            server.show(page)
        assert scraped.empty_or_unnamed(server) == []
        assert server.query('sriov_bond_nosuch{pool=~"$pool"}') == []
        [received] = server.query(next(query.expression for query in scraped.queries() if query.panel == "Bonds: received"))
        assert (received["metric"]["container"], float(received["value"][1]) > 0) == ("c1", True)
        with pytest.raises(AssertionError, match="parse error"):
            server.query("sriov_bond_carrier{")


def test_the_dashboard_and_the_page_have_every_metric(tmp_path: Path) -> None:
    """docs/metrics.md lists each metric, and no other; the dashboard names only these."""
    names = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.families(state(tmp_path))}
    page = (REPOSITORY / "docs/metrics.md").read_text()
    listed = {
        name.replace("{receive,transmit}", direction)
        for name in re.findall(r"^\| `(sriov_bond_[\w{},]+)` \|", page, re.MULTILINE)
        for direction in ("receive", "transmit")
    }
    assert listed == names
    used = set(re.findall(r"sriov_bond_\w+", " ".join(query.expression for query in scraped.queries())))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} <= names


def test_a_pool_that_cannot_be_read_costs_only_its_own_metrics(tmp_path: Path) -> None:
    """The rest is printed, the reason is on standard error, and the status is 1."""
    pool = make_pool(tmp_path, "good")
    ready(pool, "c1")
    quarantine.add(pool.path, "cbond2", "its VF is missing")
    Path(make_pool(tmp_path, "bad").path, inventory.FILE).write_text("{")
    command = [*measured.command("cni_sriov_bond.ctl"), "metrics", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("sriov-bondctl: ") and "bad" in line
    assert 'sriov_bond_pool_bonds{pool="good",state="quarantined"} 1.0' in done.stdout
    assert 'pool="bad"' not in done.stdout
    assert "sriov_bond_unreadable_objects 1.0" in done.stdout
