"""Many containers, one pool."""

from concurrent.futures import ThreadPoolExecutor

from tests.lab.product import PEER, Answer, Product, network

POOL_SIZE = 7
NAMES = tuple(f"c{number}" for number in range(1, POOL_SIZE + 2))


def test_a_pool_is_shared_out_once_and_the_next_add_is_told_who_has_it(product: Product) -> None:
    """Eight ADDs at once on seven bonds: seven get a bond each, one is refused and succeeds after a DEL."""
    config = network()
    with product.netns(*NAMES) as paths:
        with ThreadPoolExecutor(len(NAMES)) as at_once:
            answers = list(at_once.map(lambda pair: product.call("ADD", config, *pair), zip(NAMES, paths, strict=True)))
        lucky = [name for name, answer in zip(NAMES, answers, strict=True) if answer.status == 0]
        (unlucky,) = set(NAMES) - set(lucky)
        refused: Answer = answers[NAMES.index(unlucky)].failed(11, "pool db is empty: all 7 bonds are leased", "cbond")
        assert any(f"by {name} eth0" in refused.document["msg"] for name in lucky)
        leased = [bond for bond in product.status()["bonds"] if bond["state"] == "ready"]
        assert {bond["lease"]["container_id"] for bond in leased} == set(lucky)
        macs = [answer.document["interfaces"][0]["mac"] for answer in answers if answer.status == 0]
        ips = [answer.document["ips"][0]["address"] for answer in answers if answer.status == 0]
        assert len(set(macs)) == len(set(ips)) == POOL_SIZE
        product.call("DEL", config, lucky[0], f"/run/netns/{lucky[0]}").succeeded()
        product.call("ADD", config, unlucky, f"/run/netns/{unlucky}").succeeded()
        assert product.pings(unlucky, PEER) == 3
        rest = [*lucky[1:], unlucky]
        with ThreadPoolExecutor(len(rest)) as at_once:
            for answer in at_once.map(lambda name: product.call("DEL", config, name, f"/run/netns/{name}"), rest):
                answer.succeeded()


def test_one_container_may_have_two_interfaces(product: Product) -> None:
    other = network(name="other", vlan=200, ipam={"type": "host-local", "ranges": [[{"subnet": "10.200.0.0/24"}]]})
    with product.netns("c1") as (path,):
        with ThreadPoolExecutor(2) as at_once:
            both = ((network(), "eth0"), (other, "eth1"))
            answers = list(at_once.map(lambda pair: product.call("ADD", pair[0], "c1", path, pair[1]), both))
        for answer in answers:
            answer.succeeded()
        assert product.pings("c1", PEER) == 3
        assert product.pings("c1", "10.200.0.1") == 3
        product.call("DEL", network(), "c1", path, "eth0").succeeded()
        assert product.pings("c1", "10.200.0.1") == 3
        product.call("DEL", other, "c1", path, "eth1").succeeded()
