"""What needs an Envoy of its own: rules that break loops, and clients' addresses (C3, C5, D20)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.agent.capture_site import (
    FLAGS,
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
    remove,
)
from tests.integration.agent.capturing_envoy import INBOUND, OUTBOUND

pytestmark = [*needs_root]


@pytest.fixture(scope="module")
def mirrored() -> Iterator[Site]:
    with mirrored_site() as site:
        yield site


@pytest.fixture
def site(mirrored: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    mirrored.backend = request.param
    yield mirrored
    mirrored.clean()


@every_backend
@pytest.mark.parametrize(
    ("without", "cluster"),
    [
        pytest.param(
            Without(
                "ISTIO_OUTPUT",
                ("-s 127.0.0.6/32 -o lo -j RETURN",),
                (r"ip saddr 127\.0\.0\.6 .*return",),
                "in",
            ),
            INBOUND,
            id="9-inbound-loop",
        ),
        pytest.param(
            Without(
                "ISTIO_OUTPUT",
                ("owner --uid-owner 1337 -j RETURN", "owner --gid-owner 1337 -j RETURN"),
                (r"^\s*meta skuid 1337 .*return", r"^\s*meta skgid 1337 .*return"),
                "out",
            ),
            OUTBOUND,
            id="12-outbound-loop",
        ),
    ],
)
def test_which_rules_break_loops(site: Site, without: Without, cluster: str) -> None:
    """With the rule one connection, without it one connection makes many (C3)."""
    site.captured(*FLAGS)
    with envoy(site.link):
        assert observe(site, without.call) == expected(site, without.call)
        remove(site, without)
        before = site.proxied()[cluster]
        (site.to_workload if without.call == "in" else site.from_workload)(PORT, seconds=3)
        assert site.proxied()[cluster] > before + 20


@every_backend
def test_one_of_two_rules_is_enough(site: Site) -> None:
    """User and group of the proxy each let its traffic pass (C3, 12)."""
    site.captured(*FLAGS)
    rule = ("owner --uid-owner 1337 -j RETURN",)
    with envoy(site.link):
        remove(site, Without("ISTIO_OUTPUT", rule, (r"^\s*meta skuid 1337 .*return",), "out"))
        assert observe(site, "out") == expected(site, "out")


@every_backend
def test_the_proxys_own_source_address(site: Site) -> None:
    """Without it what Envoy sends to the application comes back, unless rule 10 is gone too: then
    the application sees the workload's address (C3).
    """
    site.captured(*FLAGS)
    with envoy(site.link, bind_source=False):
        before = site.proxied()[INBOUND]
        site.to_workload(PORT, seconds=3)
        assert site.proxied()[INBOUND] > before + 20
    without = Without(
        "ISTIO_OUTPUT",
        ("uid-owner 1337 -j ISTIO_IN_REDIRECT", "gid-owner 1337 -j ISTIO_IN_REDIRECT"),
        (r"ip daddr.*skuid 1337.*jump", r"ip daddr.*skgid 1337.*jump"),
        "in",
    )
    remove(site, without)
    with envoy(site.link, bind_source=False):
        assert observe(site, "in") == Seen(site.link.workload.ipv4, inbound=1)


@every_backend
def test_tproxy(site: Site) -> None:
    """The application sees the client itself; nothing else changes (C5)."""
    link = site.link
    flags = (*FLAGS, "-m", "TPROXY")
    site.captured(*flags)
    assert "capture.unchanged" in site.captured(*flags)
    with envoy(link, uid=0, transparent=True):
        assert observe(site, "in") == Seen(link.peer.ipv4, inbound=1)
        assert observe(site, "in-excluded-port") == Seen(link.peer.ipv4)
        assert observe(site, "out") == Seen(link.workload.ipv4, outbound=1)
        assert observe(site, "loopback") == Seen("127.0.0.1")
        assert observe(site, "self-by-own-address") == Seen(link.workload.ipv4)
        assert site.call(False, link.workload.ipv6, PORT) == link.peer.ipv6
    assert "local default dev lo" in link.workload.run("ip", "route", "show", "table", "133")
    # Nobody takes what TPROXY hands over now: it must not get past the proxy.
    assert site.to_workload(PORT, seconds=1).startswith("failed")
    site.clean()
    assert link.workload.run("ip", "route", "show", "table", "133", check=False) == ""
