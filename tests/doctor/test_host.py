"""What several checks read of the host."""

from tests.doctor.fake_host import MACS, NICS, PCI, PFS, FakeHost, vf_address
from tests.support import ready


def test_nics_are_those_that_are_no_vf(fake: FakeHost) -> None:
    fake.add_device("ffff:05:00.0", "nvme", device="0x0001")
    fake.write(f"{PCI}/ffff:05:00.0/class", "0x010802\n")
    host = fake.host()
    assert [(nic.address, nic.name, nic.driver, nic.total_vfs, nic.vf_count) for nic in host.nics] == [
        (PFS[0], NICS[0], "igb", 7, 2),
        (PFS[1], NICS[1], "igb", 7, 2),
    ]
    assert host.nics[0].model == "Intel 82576"


def test_a_nic_is_named_by_name_or_address(fake: FakeHost) -> None:
    host = fake.host()
    assert [host.address_of(name) for name in ("nic1", PFS[1], "nosuch")] == [*PFS, ""]
    fake.add_device("0000:07:00.0", "igb")
    assert host.address_of("07:00.0") == "0000:07:00.0", "as lspci writes it"


def test_of_several_network_devices_the_ports_own_is_taken(fake: FakeHost) -> None:
    fake.add_netdev(PFS[0], "rep0", MACS[0], phys_port_name="pf0vf0")
    assert fake.host().netdev(PFS[0]) == NICS[0]


def test_pools_are_those_on_disk_and_of_the_host_file(fake: FakeHost) -> None:
    fake.write("/etc/cni/sriov-bond.toml", 'pools.web = {pfs = ["nic1", "nic2"]}')
    host = fake.host()
    assert host.pool_names == ["db", "web"]
    assert [nic.name for nic in host.pool_nics] == list(NICS)
    [state] = host.pools
    assert [port.address for _, port in state.ports] == [vf_address(0, 0), vf_address(1, 0), vf_address(0, 1), vf_address(1, 1)]


def test_a_wrong_host_file_has_its_reason_and_no_pools(fake: FakeHost) -> None:
    fake.write("/etc/cni/sriov-bond.toml", "[")
    host = fake.host()
    assert "is not valid TOML" in host.config_problem
    assert host.plans == []


def test_leases_are_read_anew_each_time(fake: FakeHost) -> None:
    host = fake.host()
    assert (host.leases(), host.leased()) == ([], set())
    ready(fake.pool, "c1")
    [state] = host.leases()
    assert state.record is not None
    assert (state.record.owner, host.leased()) == ("c1 eth0", {("db", "cbond1")})


def test_the_kernels_version_is_two_numbers(fake: FakeHost) -> None:
    for text, version in (
        ("6.12.1", (6, 12)),
        ("5.14-rc1", (5, 14)),
        ("6.1.0-18-amd64", (6, 1)),
        ("", (0, 0)),
        ("x.y", (0, 0)),
    ):
        fake.write("/proc/sys/kernel/osrelease", text)
        assert fake.host().kernel == version
