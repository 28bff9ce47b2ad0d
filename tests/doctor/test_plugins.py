"""The plugins: where the runtimes look, executable, of one version."""

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from tests.doctor.fake_host import FakeHost

PLUGIN, IPAM = "/opt/cni/bin/sriov-bond", "/opt/cni/bin/sriov-bond-ipam"


def test_a_plugin_that_is_not_there_is_named_with_the_network_that_needs_it(fake: FakeHost) -> None:
    words = "/opt/cni/bin has no sriov-bond-ipam, which network db needs"
    fake.broken_and_repaired("plugin", lambda: fake.remove(IPAM), words, lambda: fake.write(IPAM, "", 0o755))
    fake.write_network(ipam={"type": "host-local", "subnet": "10.1.0.0/24"})
    [finding] = fake.wrong("plugin")
    assert finding.object == "host-local"
    assert "CNI reference plugins" in finding.remedy


def test_a_plugin_that_is_not_executable_is_made_so(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired(
        "plugin", lambda: (fake.root / PLUGIN[1:]).chmod(0o644), f"{PLUGIN} is not executable, which network db needs"
    )
    assert finding.fix is not None
    assert finding.fix.safe
    fake.write_network(ipam={"type": "host-local", "subnet": "10.1.0.0/24"})
    fake.write("/opt/cni/bin/host-local", "", 0o644)
    [finding] = fake.wrong("plugin")
    assert finding.fix is not None
    assert not finding.fix.safe, "another's file"


def test_each_runtime_looks_for_itself(fake: FakeHost) -> None:
    for name in ("containerd", "crio"):
        fake.write(f"/usr/bin/{name}", "", 0o755)
    fake.write("/etc/crio/crio.conf", '[crio.network]\nplugin_dirs = ["/usr/libexec/cni"]\n')
    sentences = [finding.sentence for finding in fake.wrong("plugin")]
    assert sentences == [
        "crio finds no sriov-bond in /usr/libexec/cni, which network db needs",
        "crio finds no sriov-bond-ipam in /usr/libexec/cni, which network db needs",
    ]
    for plugin in ("sriov-bond", "sriov-bond-ipam"):
        (fake.root / "usr/libexec/cni").mkdir(parents=True, exist_ok=True)
        (fake.root / f"usr/libexec/cni/{plugin}").symlink_to(f"../../../opt/cni/bin/{plugin}")
    assert fake.passes("plugin")


def test_two_versions_are_a_warning(fake: FakeHost) -> None:
    fake.write("/usr/bin/containerd", "", 0o755)
    fake.write("/etc/containerd/config.toml", '[plugins.cri.cni]\nbin_dir = "/usr/lib/cni"\n')
    other = "/usr/lib/cni/sriov-bond"
    fake.write(other, "sriov-bond", 0o755)
    assert fake.passes("plugin-version"), "two equal copies"
    words = f"there are 2 versions of sriov-bond: {other}, {PLUGIN}"
    older = lambda: fake.write(other, "older", 0o755)  # noqa: E731
    fake.broken_and_repaired("plugin-version", older, words, lambda: fake.remove(other), WARNING)
    fake.remove(PLUGIN)
    assert [finding.result for finding in fake.check("plugin-version")] == [SKIPPED]
