"""Traffic capture in real network namespaces with a real Envoy (C2 to C5, D18, D20).

Every test programs the rules with the command that init containers use, in every backend that the
rules may live in.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.agent import mirror
from tests.integration.agent.capture_site import (
    EXCLUDED_IN,
    EXPECTED,
    FLAGS,
    NATIVE,
    PORT,
    Seen,
    Site,
    Without,
    envoy,
    every_backend,
    expected,
    mirrored_site,
    needs_root,
    observe,
    program,
    remove,
)
from tests.integration.agent.capturing_envoy import INBOUND, OUTBOUND
from tests.integration.agent.namespaces import APPLICATION, PROXY, PYTHON

pytestmark = [*needs_root]


@pytest.fixture(scope="module")
def captured() -> Iterator[Site]:
    """One Envoy for the whole module; rules are each test's own."""
    with mirrored_site() as site, envoy(site.link):
        yield site


@pytest.fixture
def site(captured: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    captured.backend = getattr(request, "param", "nft")
    yield captured
    captured.clean()


@every_backend
def test_every_path(site: Site) -> None:
    """Both directions captured, the rest direct, no loop: each call is proxied as often as
    it should be and no oftener (C3).
    """
    site.captured(*FLAGS)
    seen = {call: observe(site, call) for call in EXPECTED}
    assert seen == {call: expected(site, call) for call in EXPECTED}


@every_backend
@pytest.mark.parametrize(
    "without",
    [
        pytest.param(
            Without(
                "ISTIO_REDIRECT",
                ("--to-ports 15001",),
                ("redirect to :15001",),
                "out",
                Seen("{workload}"),
            ),
            id="3-no-outbound-capture",
        ),
        pytest.param(
            Without(
                "OUTPUT", ("-j ISTIO_OUTPUT",), ("jump istio-output",), "out", Seen("{workload}")
            ),
            id="7-no-outbound-capture",
        ),
        pytest.param(
            Without(
                "ISTIO_OUTPUT",
                ("-j ISTIO_REDIRECT",),
                ("jump istio-redirect",),
                "out",
                Seen("{workload}"),
            ),
            id="17-no-outbound-capture",
        ),
        pytest.param(
            Without(
                "ISTIO_IN_REDIRECT",
                ("--to-ports 15006",),
                ("redirect to :15006",),
                "in",
                Seen("{peer}"),
            ),
            id="4-no-inbound-capture",
        ),
        pytest.param(
            Without(
                "PREROUTING", ("-j ISTIO_INBOUND",), ("jump istio-inbound",), "in", Seen("{peer}")
            ),
            id="5-no-inbound-capture",
        ),
        pytest.param(
            Without(
                "ISTIO_INBOUND",
                ("-j ISTIO_IN_REDIRECT",),
                ("jump istio-in-redirect",),
                "in",
                Seen("{peer}"),
            ),
            id="6-no-inbound-capture",
        ),
        pytest.param(
            Without(
                "ISTIO_OUTPUT",
                ("uid-owner 1337 -j ISTIO_IN_REDIRECT", "gid-owner 1337 -j ISTIO_IN_REDIRECT"),
                (r"ip daddr.*skuid 1337.*jump", r"ip daddr.*skgid 1337.*jump"),
                "self-by-vip",
                Seen("{workload}", service=1),
            ),
            id="10-self-call-skips-inbound-policy",
        ),
        pytest.param(
            Without(
                "ISTIO_OUTPUT",
                ("! --uid-owner 1337 -j RETURN", "! --gid-owner 1337 -j RETURN"),
                (r"skuid != 1337.*return", r"skgid != 1337.*return"),
                "self-by-own-address",
                Seen("127.0.0.6", outbound=1, inbound=1),
            ),
            id="11-own-address-proxied-twice",
        ),
    ],
)
def test_what_each_rule_is_for(site: Site, without: Without) -> None:
    """The rules of C3 whose absence changes the path: without them the effect, with them none."""
    site.captured(*FLAGS)
    assert observe(site, without.call) == expected(site, without.call)
    remove(site, without)
    assert observe(site, without.call) == without.effect.at(site.link)


@pytest.mark.parametrize("site", ["nft", NATIVE], indirect=True)
@pytest.mark.parametrize(
    ("flags", "call", "seen"),
    [
        pytest.param(("-b", PORT), "in", Seen("127.0.0.6", inbound=1), id="inbound-port-listed"),
        pytest.param(("-b", EXCLUDED_IN), "in", Seen("{peer}"), id="inbound-port-not-listed"),
        pytest.param((), "in", Seen("{peer}"), id="no-inbound-capture"),
        pytest.param(("-i", "10.199.0.0/16"), "out", Seen("{workload}", outbound=1), id="cidr-in"),
        pytest.param(("-i", "192.0.2.0/24"), "out", Seen("{workload}"), id="cidr-not-in"),
        pytest.param(
            ("-i", "*", "-x", "10.199.0.0/16"), "out", Seen("{workload}"), id="cidr-excluded"
        ),
        pytest.param(("-q", PORT), "out", Seen("{workload}", outbound=1), id="port-included"),
        pytest.param(
            ("-i", "*", "-c", "{interface}"), "out", Seen("{workload}"), id="interface-excluded"
        ),
        pytest.param(("-i", "*", "-c", "mt+"), "out", Seen("{workload}"), id="interfaces-excluded"),
        pytest.param(
            ("-i", "*", "--owner-groups-exclude", str(APPLICATION)),
            "out",
            Seen("{workload}"),
            id="group-excluded",
        ),
        pytest.param(
            ("-i", "*", "--owner-groups", "3000,3001"), "out", Seen("{workload}"), id="group-not-in"
        ),
        pytest.param(
            ("-i", "*", "--owner-groups", f"3000,{APPLICATION}"),
            "out",
            Seen("{workload}", outbound=1),
            id="group-in",
        ),
        pytest.param(
            ("-i", "*", "--drop-invalid"), "out", Seen("{workload}", outbound=1), id="drop-invalid"
        ),
        pytest.param(("-k", "{interface}", "-i", "*"), "in", Seen("", outbound=1), id="kubevirt"),
        pytest.param(
            ("-i", "*", "-u", "root", "-g", "root"),
            "out-as-root",
            Seen("{workload}"),
            id="proxy-by-name",
        ),
    ],
)
def test_lists(site: Site, flags: tuple[str, ...], call: str, seen: Seen) -> None:
    """Lists of ports, networks, groups and interfaces choose what is captured (C1)."""
    interface = f"{site.link.workload.name.removesuffix('-w')}-a"
    chosen = [each.format(interface=interface) for each in flags]
    site.captured(*chosen)
    assert "capture.unchanged" in site.captured(*chosen)
    found = observe(site, call)
    if "-k" in flags:  # the virtual machine's traffic goes out through the proxy
        assert found.outbound == seen.outbound
    else:
        assert found == seen.at(site.link)


@every_backend
def test_ipv6(site: Site) -> None:
    """The same for IPv6: out and in, and the proxy's own source address (C2)."""
    link = site.link
    site.captured(*FLAGS)
    before = site.proxied()
    assert site.call(True, link.peer.ipv6, PORT) == link.workload.ipv6
    assert site.call(False, link.workload.ipv6, PORT) == "::6"
    assert site.call(True, "::1", PORT) == "::1"
    after = site.proxied()
    assert after[OUTBOUND] - before[OUTBOUND] == 1
    assert after[f"{INBOUND}6"] - before[f"{INBOUND}6"] == 1


@every_backend
@pytest.mark.parametrize("which", ["resolv.conf", "all"])
def test_dns(site: Site, which: str) -> None:
    """Queries of programs go to the agent, the agent's own to the server (C6)."""
    link = site.link
    site.captured(*FLAGS, "--redirect-dns", *(["--capture-all-dns"] if which == "all" else []))
    mirror_udp = [PYTHON, link.program(mirror.__file__), "--udp"]
    agent_side = link.workload.inside(*mirror_udp, "127.0.0.1", "15053", "agent", uid=PROXY)
    server_side = link.peer.inside(*mirror_udp, link.peer.ipv4, "53", "server")
    with program(agent_side, "ready"), program(server_side, "ready"):
        assert site.ask(link.peer.ipv4, APPLICATION) == "agent"
        assert site.ask(link.peer.ipv4, PROXY) == "server"
        # TCP to the server's port is redirected too: nobody listens on 15053 for TCP here.
        assert site.from_workload("53") == "failed: ConnectionRefusedError"
        assert site.from_workload("53", uid=PROXY) == link.workload.ipv4
        assert observe(site, "out") == expected(site, "out")
