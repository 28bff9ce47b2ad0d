"""The demo: a container leases a bond of two VFs, and keeps its traffic while cables are pulled.

Exit status 0 means that every claim was true.
"""

import json
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from tests.lab import downloads
from tests.lab.callers import conflist
from tests.lab.conftest import changes
from tests.lab.dockerd import DAEMON_JSON, IMAGE, Docker, docker, plugins_where_installed
from tests.lab.errors import LabError
from tests.lab.lab import Lab, boot
from tests.lab.product import HOST_FILE, PEER, POOL, SUBNET, SUBNET6, Product, look, network, received
from tests.lab.progress import StepFailedError
from tests.lab.runtimes import CONFLIST, Containerd, containerd
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.guest import Process

PINGS, EVERY = 50, 0.2
MOST_LOST = 12
IPAM = {
    "type": "sriov-bond-ipam",
    "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}], [{"subnet": SUBNET6}]],
}
NEXT_STEPS = """\
tar -C / -xzf dist/sriov-bond-*.tar.gz
cp conf/sriov-bond.toml /etc/cni/        # then name your NICs: pfs = [...]
sriov-bondctl up && sriov-bondctl doctor
cp conf/db.conflist /etc/cni/net.d/      # then set vlan and ipam
ctr run --rm --cni IMAGE NAME            # or nerdctl run --net db IMAGE
"""


class Story:
    """The output of the demo, and the claims that were not true."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, emoji=False)
        self.failures: list[str] = []
        self._began = time.monotonic()
        self._chapter = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        self.console.print()
        self.console.rule(f"[bold]{self._chapter}. {title}", align="left")

    def show(self, text: str, title: str = "") -> None:
        """Show the output of a program."""
        self.console.print(Panel(Text.from_ansi(text.rstrip()), title=title or None, title_align="left", border_style="dim"))

    @property
    def columns(self) -> int:
        """The width of what is shown: a frame takes four columns."""
        return self.console.width - 4

    def check(self, is_true: bool, claim: str) -> None:
        """Show a claim and whether it is true."""
        mark = "[green]✔[/]" if is_true else "[bold red]✘[/]"
        self.console.print(f"  {mark} {claim}")
        if not is_true:
            self.failures.append(claim)

    def end(self) -> int:
        """Show the result and return the exit status."""
        took = time.monotonic() - self._began
        self.console.print()
        if self.failures:
            self.console.print(f"[bold red]{len(self.failures)} claims failed:[/] {'; '.join(self.failures)}")
            return 1
        self.console.print(f"[bold green]Every claim was true[/], in {took:.0f} s. On a host with real NICs:")
        self.console.print(NEXT_STEPS, soft_wrap=True, end="")
        return 0


def run(story: Story, lab: Lab) -> None:
    """Run all chapters."""
    product = Product(lab.guest)
    _make_pool(story, product)
    before = look(lab.guest)
    with containerd(product, "/opt/lab/tools/containerd-2", network(ipam=IPAM)) as runtime:
        _run_container(story, product, runtime)
        _pull_cable(story, lab, runtime)
        _remove(story, product, runtime)
    product.wait_free("every bond to be free", 30)
    with conflist(product, network(ipam=IPAM)), docker(product, "--runtime-only") as engine:
        _run_docker(story, lab, engine)
        _ask_doctor(story, product)
    product.wait_free("every bond to be free", 30)
    story.show(_command(story, product, "status"), "sriov-bondctl status")
    different = changes(before, look(lab.guest))
    story.check(not different, f"the host is as it was before the container{': ' if different else ''}{'; '.join(different)}")


def _make_pool(story: Story, product: Product) -> None:
    story.chapter("Create a pool of bonds from two NICs")
    product.guest.write(HOST_FILE, POOL.format(vfs=7))
    story.show(product.guest.read(HOST_FILE), HOST_FILE)
    product.ctl("up")
    story.show(_command(story, product, "status"), "sriov-bondctl up && sriov-bondctl status")
    story.check(product.states() == ["free"] * 7, "seven bonds are free, each with one VF of each NIC")


def _command(story: Story, product: Product, *arguments: str) -> str:
    """Return the output of a command of sriov-bondctl, as wide as what is shown."""
    command = ["env", f"COLUMNS={story.columns}", "sriov-bondctl", *arguments]
    return product.guest.run(command, timeout=120).stdout


def _run_container(story: Story, product: Product, runtime: Containerd) -> None:
    story.chapter("A container leases a bond")
    plugin = {key: value for key, value in network(ipam=IPAM).items() if key not in ("cniVersion", "name")}
    story.show(json.dumps({"cniVersion": "1.0.0", "name": "db", "plugins": [plugin]}), CONFLIST)
    began = time.monotonic()
    runtime.run("box", "sleep 10000", detached=True)
    story.console.print(f"  ctr run --detach --cni box (containerd {runtime.version}): {time.monotonic() - began:.1f} s")
    story.show(_command(story, product, "status"), "sriov-bondctl status")
    story.show(runtime.inside("box", "ip addr"), "in the container: ip addr")
    ping = runtime.inside("box", f"ping -c 3 {PEER}")
    story.show(ping, f"in the container: ping {PEER}, a peer on VLAN 100")
    story.check("3 packets received" in ping, "the peer on VLAN 100 answers")
    # The container itself may not do this. Root on the host may, and still gets no answer.
    enter = f"nsenter -t {runtime.pid('box')} -n"
    command = f"{enter} ip addr add 10.200.0.9/24 dev eth0; {enter} ping -c 2 -W 1 10.200.0.1"
    other_vlan = product.guest.run(command).stdout
    product.guest.sh(f"{enter} ip addr del 10.200.0.9/24 dev eth0")
    story.show(other_vlan, "root on the host adds an address of VLAN 200, and pings there")
    story.check(received(other_vlan) == 0, "nobody on VLAN 200 answers: the NICs restrict the container to its VLAN")
    promiscuous = look(product.guest).promiscuous
    story.check(not {"enp1s0", "enp2s0"} & set(promiscuous), "no NIC is in promiscuous mode")


def _pull_cable(story: Story, lab: Lab, runtime: Containerd) -> None:
    story.chapter("Pull the cables, one after the other")
    for name in ("A", "B"):
        ping = runtime.spawn("box", f"ping -c {PINGS} -i {EVERY} -W 1 {PEER}")
        _reach(ping, 10)
        story.console.print(f"  {1 / EVERY:.0f} pings a second; cable to switch {name} [red]unplugged[/]", end="")
        lab.cable(name, plugged=False)
        try:
            _reach(ping, 35)
        finally:
            lab.cable(name, plugged=True)
        lost = PINGS - received(ping.wait().stdout)
        story.console.print(", [green]plugged in[/]")
        story.check(
            lost <= MOST_LOST, f"without the cable to switch {name}, {lost} of {PINGS} pings were lost (limit {MOST_LOST})"
        )
        wait_until(lambda: runtime.ports_up("box") == 2, f"the port on switch {name} to be up", 60)


def _reach(ping: "Process", number: int) -> None:
    """Wait until busybox's ping has got the answer to a sequence number."""
    wait_until(lambda: any(f"seq={count} " in ping.stdout for count in range(number, PINGS)), f"ping {number}", 60)


def _remove(story: Story, product: Product, runtime: Containerd) -> None:
    story.chapter("Remove the container: its bond is free again")
    runtime.remove("box")
    story.console.print("  ctr task kill box; ctr container rm box")


def _run_docker(story: Story, lab: Lab, engine: Docker) -> None:
    product = engine.product
    story.chapter("Docker: the first process of a container has its network")
    story.show(product.guest.read(DAEMON_JSON), f"sriov-bondctl docker config --write: {DAEMON_JSON}")
    request = ("--env", "SRIOV_BOND_NETWORK=db")
    first = engine.run(*request, IMAGE, "sh", "-c", f"ip -4 addr show eth0; ping -c 1 {PEER}").wait().stdout
    story.console.print("  docker run --rm --runtime sriov-bond --network none \\")
    story.console.print(f"    -e SRIOV_BOND_NETWORK=db {IMAGE} \\")
    story.console.print(f'    sh -c "ip -4 addr show eth0; ping -c 1 {PEER}"')
    story.show(first)
    story.check("1 packets received" in first, "the first process of the container reaches the peer")
    engine.begin("web", "--runtime", "sriov-bond", *request)
    ping = product.guest.spawn(f"docker exec web ping -c {PINGS} -i {EVERY} -W 1 {PEER}", timeout=90)
    _reach(ping, 10)
    story.console.print(f"  {1 / EVERY:.0f} pings a second; cable to switch A [red]unplugged[/]", end="")
    lab.cable("A", plugged=False)
    try:
        _reach(ping, 20)
        traffic = _command(story, product, "top", "--once")
    finally:
        lab.cable("A", plugged=True)
    lost = PINGS - received(ping.wait().stdout)
    story.console.print(", [green]plugged in[/]")
    story.show(traffic, "sriov-bondctl top --once, while the cable was out")
    story.check(lost <= MOST_LOST, f"{lost} of {PINGS} pings were lost (limit {MOST_LOST})")
    engine.call("rm", "--force", "web")
    wait_until(product.all_free, "Docker's bond to be free", 10)
    story.check(product.all_free(), "docker rm: the bond is free, without another command")


def _ask_doctor(story: Story, product: Product) -> None:
    story.chapter("What is wrong on this host?")
    command = ["env", f"COLUMNS={story.columns}", "sriov-bondctl", "doctor"]
    with plugins_where_installed(product):
        result = product.guest.run(command, timeout=120)
    story.show(result.stdout, "sriov-bondctl doctor")
    story.check(result.status == 0, "doctor finds no failure")


def main() -> int:
    """Boot the lab, run the demo, and return the exit status."""
    story = Story()
    try:
        booted = boot(downloads.provide(), downloads.build_product())
        try:
            run(story, booted)
        finally:
            booted.close()
    except (LabError, StepFailedError, AssertionError) as failed:
        story.check(False, str(failed))
    except KeyboardInterrupt:
        return 130
    return story.end()


if __name__ == "__main__":
    sys.exit(main())
