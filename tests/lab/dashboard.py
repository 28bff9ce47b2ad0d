"""`./dev dashboard`: the picture of the Grafana dashboard in docs/, drawn from real data.

Debian has no Grafana. In the guest containers come and go, ping, and a cable is out for a while; Debian's prometheus scrapes
`sriov-bondctl metrics --listen` meanwhile. Each panel's own queries are then asked of prometheus, and gnuplot draws the
answers, in the places that the dashboard gives the panels.
"""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests import scraped
from tests.lab import debian, downloads
from tests.lab.lab import boot
from tests.lab.product import PEER, Product, network
from tests.lab.progress import console, step
from tests.support import REPOSITORY

if TYPE_CHECKING:
    from tests.lab.lab import Lab

PICTURE = REPOSITORY / "docs/dashboard.svg"
ADDRESS = "127.0.0.1:9779"
# The body of a scrape, without a program that a machine may lack.
GET = "exec 3<>/dev/tcp/127.0.0.1/9779; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; sed '1,/^\\r$/d' <&3"
SECONDS = 150
OUT, BACK = 60, 100  # when the cable is pulled and plugged in again
STEP = 2
CONTAINERS = ("web-1", "web-2", "db-1")
COLUMN, ROW = 56, 34  # pixels of the dashboard's grid
CONFIG = network(mode="active-backup", linkMonitor="arp", arp_interval=200, arp_ip_target=[PEER])


class Line(NamedTuple):
    """The answer to a query: a name for the legend, and seconds since the beginning with values."""

    name: str
    points: list[tuple[float, float]]


def main(arguments: list[str]) -> int:
    """Write the picture."""
    debian.install(["gnuplot-nox"])
    provided, product, binaries = downloads.provide(), downloads.build_product(), downloads.prometheus()
    lab = boot(provided, product)
    try:
        with tempfile.TemporaryDirectory() as folder, scraped.running(binaries, Path(folder)) as server:
            began = time.time()
            with step(f"Containers, traffic and a pulled cable for {SECONDS} s"):
                _live(lab, server)
            panels = [(panel, _lines(server, panel, began)) for panel in scraped.dashboard()["panels"]]
        script = _gnuplot(panels)
    finally:
        lab.close()
    target = Path(arguments[0]) if arguments else PICTURE
    subprocess.run(["gnuplot"], input=f"set output '{target}'\n{script}", text=True, check=True)
    console.print(f"{target}: {sum(len(lines) for _, lines in panels)} series of {len(panels)} panels", markup=False)
    return 0


def _live(lab: "Lab", server: scraped.Server) -> None:
    """Run containers and their traffic, while prometheus scrapes."""
    product = Product(lab.guest)
    product.provision()
    serving = lab.guest.spawn(["sriov-bondctl", "metrics", "--listen", ADDRESS])
    over = threading.Event()

    def copy() -> None:
        while not over.is_set():
            page = lab.guest.run(GET).stdout
            if page:
                server.page = page
            over.wait(1)

    copier = threading.Thread(target=copy)
    copier.start()
    try:
        began = time.monotonic()
        with product.attached(CONFIG, *CONTAINERS):
            pings = [
                lab.guest.spawn(f"ip netns exec {name} ping -q -i {0.01 * number} -s 1000 {PEER}")
                for number, name in enumerate(CONTAINERS, 1)
            ]
            is_out, number = False, 0
            while (now := time.monotonic() - began) < SECONDS:
                if is_out != (OUT < now < BACK):
                    is_out = not is_out
                    lab.cable("A", plugged=not is_out)
                number += 1
                name = f"job-{number}"
                with product.attached(CONFIG, name):
                    product.call("ADD", network(vlan=5000), "refused", f"/run/netns/{name}").failed(7)
                    time.sleep(3)
            for ping in pings:
                ping.stop()
    finally:
        over.set()
        copier.join()
        serving.stop()


def _lines(server: scraped.Server, panel: dict[str, Any], began: float) -> list[Line]:
    """Return the series of all queries of a panel."""
    lines = []
    for target in panel["targets"]:
        for series in server.query_range(target["expr"], began, time.time(), STEP):
            metric, name = series["metric"], target["legendFormat"]
            for label in scraped.labels(name):
                name = name.replace(f"{{{{{label}}}}}", metric.get(label, ""))
            points = [(float(at) - began, float(value)) for at, value in series["values"] if value not in ("NaN", "+Inf")]
            if points:
                lines.append(Line(name or " ".join(metric.get(key, "") for key in ("bond", "container", "mode")), points))
    return lines


def _gnuplot(panels: list[tuple[dict[str, Any], list[Line]]]) -> str:
    """Return a script that draws each panel at its place in the dashboard."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels)
    commands = [
        f"set terminal svg size {24 * COLUMN},{height * ROW} font 'sans-serif,10' background '#ffffff'",
        "set multiplot",
        "set key below maxrows 3 samplen 1 font ',8'",
        "set grid ytics lc rgb '#dddddd'",
        "set border 3 lc rgb '#999999'",
        "set tics nomirror",
        "set format y '%.1s%c'",
    ]
    for panel, lines in panels:
        place = panel["gridPos"]
        commands += [
            f"set origin {place['x'] / 24},{1 - (place['y'] + place['h']) / height}",
            f"set size {place['w'] / 24},{place['h'] / height}",
            f"set title {_quoted(panel['title'])} font ',11'",
            *_plot(panel, lines),
        ]
    return "\n".join([*commands, "unset multiplot", ""])


def _plot(panel: dict[str, Any], lines: list[Line]) -> list[str]:
    if panel["type"] in ("stat", "table"):
        last = max((line.points[-1][0] for line in lines), default=0.0)
        lines = [line for line in lines if line.points[-1][0] == last]  # the others have ended
        texts = [f"{line.points[-1][1]:g}" for line in lines] if panel["type"] == "stat" else [line.name for line in lines]
        size, text = (28, texts[0] if texts else "0") if panel["type"] == "stat" else (9, "\\n".join(texts))
        label = f'set label 1 "{text}" at graph 0.5,0.5 center font ",{size}"'
        hidden = "unset border; unset tics; unset key"
        shown = "unset label 1; set border 3 lc rgb '#999999'; set tics nomirror; set key below maxrows 3 samplen 1 font ',8'"
        return [hidden, label, "plot [0:1][0:1] -1 notitle", shown]
    if panel["type"] == "state-timeline":  # a band for each series, as Grafana draws it: high is 1
        lines = [
            Line(line.name, [(at, value * 0.7 + 1.2 * row) for at, value in line.points]) for row, line in enumerate(lines)
        ]
        before, after = [f"unset ytics; set yrange [-0.2:{1.2 * len(lines)}]"], ["set ytics nomirror; set autoscale y"]
    else:
        before, after = [f"set ylabel {_quoted(panel['fieldConfig']['defaults'].get('unit', ''))}"], ["unset ylabel"]
    style = "steps" if panel["type"] == "state-timeline" else "lines"
    data = [f"$d{number} << EOD\n{_rows(line)}\nEOD" for number, line in enumerate(lines)]
    parts = [f"$d{number} with {style} lw 1.5 title {_quoted(line.name)}" for number, line in enumerate(lines)]
    plot = "plot " + ", ".join(parts) if parts else "plot [0:1][0:1] -1 title 'no series'"
    return [*before, *data, plot, *after]


def _rows(line: Line) -> str:
    return "\n".join(f"{at:.1f} {value:g}" for at, value in line.points)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("_", "-") + "'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
