"""Lists of VFs of any length, also one whose length does not fit its attribute, as the kernel writes it."""

import struct

import pytest

from cni_sriov_bond.kernel import rtnetlink, vflist

STATS = rtnetlink.attribute(8, bytes(96))  # IFLA_VF_STATS: kernels before 5.13 cannot leave them out


def vf_entry(number: int) -> bytes:
    vlan = rtnetlink.vf_vlan(number, number % 4095, 0, 0x8100)
    return rtnetlink.attribute(1, rtnetlink.vf_mac(number, f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}") + vlan + STATS)


def answer(count: int) -> bytes:
    """Return the body of an RTM_NEWLINK of a PF, with attributes before and after its list of VFs."""
    entries = b"".join(map(vf_entry, range(count)))
    vfs = struct.pack("=HH", (4 + len(entries)) & 0xFFFF, rtnetlink.IFLA_VFINFO_LIST) + entries
    before = rtnetlink.text(rtnetlink.IFLA_IFNAME, "enp1s0") + rtnetlink.u32(rtnetlink.IFLA_NUM_VF, count)
    return rtnetlink.link_body(5, before, vfs, rtnetlink.text(rtnetlink.IFLA_PARENT_DEV, "0000:01:00.0"), up=True)


@pytest.mark.parametrize("count", [1, 63, 250, 256, 400, 511, 1024])
def test_every_vf_is_read(count: int) -> None:
    """With what comes after the list: a wrapped length would make the rest of the list pass for attributes."""
    link = rtnetlink.parse_link(answer(count))
    assert sorted(link.vfs) == list(range(count))
    assert {vf.settings.vlan for vf in link.vfs.values()} == {number % 4095 for number in range(count)}
    assert (link.name, link.num_vfs, link.parent) == ("enp1s0", count, "0000:01:00.0")


def test_a_long_answer_without_vfs_is_left_alone() -> None:
    body = rtnetlink.link_body(5, *[rtnetlink.attribute(99, bytes(60000))] * 2)
    assert vflist.split(body) == (body, b"")


def test_damaged_answers_end() -> None:
    """A length of zero in front of the list, and a list that is cut off."""
    body = answer(400)
    assert vflist.split(body[:16] + bytes(4) + body[16:]) == (body[:16] + bytes(4) + body[16:], b"")
    for length in range(60000, len(body), 997):
        assert len(rtnetlink.parse_link(body[:length]).vfs) <= 400
