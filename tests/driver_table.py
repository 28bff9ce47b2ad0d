"""The table of drivers in docs/operations.md, made from kernel/drivers: ``python -m tests.driver_table`` writes it anew."""

import re
from pathlib import Path

from cni_sriov_bond.kernel import drivers

PATH = Path(__file__).resolve().parents[1] / "docs/operations.md"
_TABLE = re.compile(r"(?s)(?<=<!-- drivers: made from kernel/drivers -->\n).*?(?=<!-- end of drivers -->)")
_KEYS = {
    "qos": "vlanQoS", "ad": "vlanProto 802.1ad", "min": "min_tx_rate", "max": "max_tx_rate", "spoofchk": "spoofchk",
    "link_state": "link_state", "trust": "trust",
}  # fmt: skip
_WAYS = {
    "claim": "the VF sets it before its PF does",
    "late": "from the PF, within 3 s",
    "netdev": "set on the PF and on the VF",
    "probe": "from the PF when its driver is bound, or set on the VF",
}


def table() -> str:
    """Return the table in Markdown."""
    rows = []
    for driver in drivers.DRIVERS:
        lacking = ", ".join(f"`{key}`" for column, key in _KEYS.items() if drivers.lacks(driver, column))
        name = driver.replace("/", " in ")
        rows.append(f"| {name} | {drivers.fact(driver, 'vf')} | {lacking} | {_WAYS[drivers.way_of_mac(driver)]} |")
    head = ("| PF driver | VF driver | does not have | how a VF gets its MAC |", "| --- | --- | --- | --- |")
    return "\n".join((*head, *rows, ""))


def text() -> str:
    """Return the whole page with the table as the data has it now."""
    return _TABLE.sub(lambda _: table(), PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
