"""Where runtimes look for plugins and networks."""

import pytest

from cni_sriov_bond.doctor import runtimes
from cni_sriov_bond.doctor.tree import Tree
from tests.doctor.fake_host import FakeHost

V2 = '[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "/srv/net.d"\n'
V3 = '[plugins."io.containerd.cri.v1.runtime".cni]\nbin_dirs = ["/a", "/b"]\n'
CRIO = '[crio.network]\nplugin_dirs = ["/opt/cni/bin", "/usr/libexec/cni"]\nnetwork_dir = "/etc/crio/net.d"\n'
PODMAN = '[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/usr/lib/cni"]\n'


@pytest.mark.parametrize(
    ("name", "path", "text", "expected"),
    [
        ("containerd", "/etc/containerd/config.toml", "", (("/opt/cni/bin",), "/etc/cni/net.d")),
        ("containerd", "/etc/containerd/config.toml", V2, (("/usr/lib/cni",), "/srv/net.d")),
        ("containerd", "/etc/containerd/config.toml", V3, (("/a", "/b"), "/etc/cni/net.d")),
        ("containerd", "/etc/containerd/config.toml", "broken [", (("/opt/cni/bin",), "/etc/cni/net.d")),
        ("containerd", "/etc/containerd/config.toml", "plugins = 5", (("/opt/cni/bin",), "/etc/cni/net.d")),
        ("crio", "/etc/crio/crio.conf.d/10.conf", CRIO, (("/opt/cni/bin", "/usr/libexec/cni"), "/etc/crio/net.d")),
        ("podman", "/etc/containers/containers.conf", PODMAN, (("/usr/lib/cni",), "/etc/cni/net.d")),
        ("nerdctl", "/etc/nerdctl/nerdctl.toml", 'cni_path = "/x"\n', (("/x",), "/etc/cni/net.d")),
    ],
)
def test_each_runtime_says_where_it_looks(
    fake: FakeHost, name: str, path: str, text: str, expected: tuple[tuple[str, ...], str]
) -> None:
    tree = Tree(str(fake.root))
    assert runtimes.installed(tree) == []
    fake.write(f"/usr/bin/{name}", "", 0o755)
    fake.write(path, text)
    [runtime] = runtimes.installed(tree)
    assert (runtime.name, (runtime.plugins, runtime.networks)) == (name, expected)
    assert set(expected[0]) <= set(runtimes.plugin_directories(tree))
    assert runtimes.network_directories(tree)[0] == "/etc/cni/net.d"
    assert expected[1] in runtimes.network_directories(tree)


def test_podman_without_cni_looks_for_no_plugins(fake: FakeHost) -> None:
    fake.write("/usr/bin/podman", "", 0o755)
    fake.write("/etc/containers/containers.conf", '[network]\nnetwork_backend = "netavark"\n')
    assert runtimes.installed(Tree(str(fake.root))) == []
