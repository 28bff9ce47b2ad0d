"""IP addresses and networks: a parser as strict as the kernel's, and text as Go writes it."""

import random
from ipaddress import IPv6Address

import pytest

from cni_sriov_bond.cni import address


@pytest.mark.parametrize(
    ("text", "family", "size"),
    [("10.0.0.5/24", 2, 4), ("0.0.0.0/0", 2, 4), ("fd00::/8", 10, 16), ("::ffff:1.2.3.4/128", 10, 16)],
)
def test_a_cidr_is_parsed(text: str, family: int, size: int) -> None:
    """Family, packed address and prefix length come from the text, which stays available."""
    cidr = address.Cidr(text)
    assert (cidr.family, len(cidr.ip), cidr.prefix, cidr.text) == (family, size, int(text.split("/")[1]), text)


def test_two_texts_of_one_address_have_one_key() -> None:
    """And the network of an address has no host bits."""
    assert address.Cidr("fd00:0::5/64").key == address.Cidr("fd00::5/64").key
    assert address.Cidr("fd00::5/64").key != address.Cidr("fd00::5/65").key
    assert address.Cidr("10.9.8.7/20").network == bytes([10, 9, 0, 0])


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.1/8", "fd00::g", "fe80::1%eth0", "\0", "\ud800", 5, None])
def test_an_invalid_address_is_a_value_error(text: object) -> None:
    for read in (address.packed, address.to_number):
        with pytest.raises(ValueError, match="is not an address"):
            read(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+1", "10.0.0.0/0024", "10.0.0.0/\u0661", "fd00::/129",
             "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.0/8/8"]
)  # fmt: skip
def test_an_invalid_network_is_a_value_error(text: str) -> None:
    """A network of IPv4-mapped addresses is refused too: its prefix length is ambiguous."""
    with pytest.raises(ValueError, match="is not a network"):
        address.network(text)


def test_a_network_is_a_number_and_a_length() -> None:
    assert address.network("10.0.0.5/8") == ((4, 0x0A000005), 8)
    assert address.network("::5/128") == ((6, 5), 128)


def test_addresses_are_written_as_go_writes_them() -> None:
    """Parsing and formatting agree with the ipaddress module, which writes as Go does; the C library uses dots in some."""
    dice = random.Random(1)
    numbers = [dice.getrandbits(dice.choice((1, 16, 17, 32, 33, 64, 112, 128))) for _ in range(2000)]
    numbers += [
        dice.getrandbits(128) & dice.getrandbits(128) & dice.getrandbits(128) & dice.getrandbits(128) for _ in range(500)
    ]
    for number in [*numbers, 0, 1, 0xFFFF, 0x10000, 2**128 - 1]:
        if number >> 32 == 0xFFFF:
            continue
        assert address.to_text((6, number)) == str(IPv6Address(number))
        assert address.to_number(str(IPv6Address(number))) == (6, number)
    assert address.to_text(address.to_number("::ffff:10.0.0.1")) == "10.0.0.1"
