"""The command that programs traffic capture: again, otherwise, checked, taken away (C4, D19)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.agent.capture_site import (
    FLAGS,
    NATIVE,
    PORT,
    Site,
    every_backend,
    mirrored_site,
    needs_root,
)

pytestmark = [*needs_root]

DUAL = (*FLAGS, "--dual-stack")


@pytest.fixture(scope="module")
def mirrored() -> Iterator[Site]:
    with mirrored_site() as site:
        yield site


@pytest.fixture
def site(mirrored: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    mirrored.backend = getattr(request, "param", "nft")
    yield mirrored
    mirrored.clean()


def alter(site: Site, *, drop: bool) -> str:
    """Delete a rule of 127.0.0.1, or send inbound traffic elsewhere; what must be told of it."""
    workload = site.link.workload
    if site.backend != NATIVE:
        tool = f"iptables-{site.backend}"
        if drop:
            rule = "-D ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN"
            workload.run(tool, "-t", "nat", *rule.split())
            return "nat: chain ISTIO_OUTPUT has"
        replaced = "-t nat -R ISTIO_IN_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15099"
        workload.run(tool, *replaced.split())
        return "lacks -p tcp -j REDIRECT --to-ports 15006"
    chain = ("inet", "istio-proxy-nat", "istio-output" if drop else "istio-in-redirect")
    listing = workload.run("nft", "-s", "-a", "list", "chain", *chain).splitlines()
    wanted = "ip daddr 127.0.0.1 counter return" if drop else "redirect to :15006"
    (handle,) = [line.rpartition(" ")[2] for line in listing if wanted in line]
    if drop:
        workload.run("nft", "delete", "rule", *chain, "handle", handle)
    else:
        other = ["meta", "l4proto", "tcp", "counter", "redirect", "to", ":15099"]
        workload.run("nft", "replace", "rule", *chain, "handle", handle, *other)
    return f"lacks {'' if drop else 'meta l4proto tcp counter '}{wanted}"


@every_backend
def test_again_then_altered_then_clean(site: Site) -> None:
    """Equal is left alone, different is refused, reconciled on demand, removed without rest."""
    assert site.rules() == []
    site.captured(*DUAL)
    applied = site.rules()
    assert "capture.unchanged" in site.captured(*DUAL)
    assert site.rules() == applied
    told = alter(site, drop=True)
    refused = site.capture(*DUAL)
    assert refused.status == 1
    assert told in refused.output
    assert "--reconcile replaces the rules" in refused.output
    assert site.rules() != applied, "nothing was applied on top"
    site.captured(*DUAL, "--reconcile")
    assert site.rules() == applied
    told = alter(site, drop=False)
    assert told in site.capture(*DUAL).output
    site.captured(*DUAL, "--force-apply")
    assert site.rules() == applied
    site.captured(*DUAL, "--cleanup-only")
    assert site.rules() == []
    site.captured(*DUAL, "--cleanup-only")


@every_backend
def test_other_flags_are_another_capture(site: Site) -> None:
    site.captured(*FLAGS)
    other = (*FLAGS, "-x", "192.0.2.0/24")
    assert "192.0.2.0/24" in site.capture(*other).output or site.backend != NATIVE
    assert site.capture(*other).status == 1
    site.captured(*other, "--reconcile=true")
    assert "192.0.2.0/24" in "".join(site.rules())


PORTS = st.lists(st.integers(1, 65535).map(str), max_size=3, unique=True).map(",".join)
CIDRS = st.lists(
    st.sampled_from(["10.0.0.0/8", "192.0.2.7/32", "127.0.0.0/8", "0.0.0.0/0", "fd00::/8"]),
    max_size=3,
    unique=True,
).map(",".join)
GROUPS = st.lists(st.integers(0, 65534).map(str), max_size=3, unique=True).map(",".join)
INTERFACES = st.sampled_from(["", "eth9", "eth+", "eth8,eth9"])
FLAGS_OF_ALL_KINDS = st.fixed_dictionaries(
    {
        "-m": st.sampled_from(["REDIRECT", "TPROXY"]),
        "-b": PORTS | st.just("*"),
        "-d": PORTS,
        "-i": CIDRS | st.just("*"),
        "-x": CIDRS,
        "-q": PORTS,
        "-o": PORTS,
        "-k": INTERFACES,
        "-c": INTERFACES,
        "-u": GROUPS,
        "-g": GROUPS,
        "--owner-groups": GROUPS.filter(bool) | st.just("*"),
        "--owner-groups-exclude": GROUPS,
        **{
            f"--{name}": st.sampled_from(["true", "false"])
            for name in ("redirect-dns", "capture-all-dns", "drop-invalid", "dual-stack")
        },
    }
)


@pytest.mark.parametrize("site", ["nft", NATIVE], indirect=True)
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(flags=FLAGS_OF_ALL_KINDS)
def test_any_flags_are_taken_found_again_and_removed(site: Site, flags: dict[str, str]) -> None:
    words = [word for flag, value in flags.items() for word in (flag, value)]
    site.captured(*words)
    assert "capture.unchanged" in site.captured(*words)
    site.clean()


@pytest.mark.parametrize("site", [NATIVE], indirect=True)
def test_the_order_of_native_rules_counts(site: Site) -> None:
    site.captured(*FLAGS)
    workload = site.link.workload
    chain = ("inet", "istio-proxy-nat", "istio-output")
    listing = workload.run("nft", "-s", "-a", "list", "chain", *chain).splitlines()
    (handle,) = [each.rpartition(" ")[2] for each in listing if "ip daddr 127.0.0.1 " in each]
    workload.run("nft", "delete", "rule", *chain, "handle", handle)
    workload.run("nft", "add", "rule", *chain, *["ip", "daddr", "127.0.0.1", "counter", "return"])
    assert "istio-output has" in site.capture(*FLAGS).output


@pytest.mark.parametrize("site", [NATIVE], indirect=True)
def test_foreign_tables_stay(site: Site) -> None:
    workload = site.link.workload
    workload.run("nft", "add", "table", "inet", "istio-proxy-other")
    try:
        site.captured(*FLAGS)
        site.captured(*FLAGS, "--cleanup-only")
        assert "istio-proxy-other" in workload.run("nft", "list", "tables")
    finally:
        workload.run("nft", "delete", "table", "inet", "istio-proxy-other")


def test_a_backend_with_rules_is_the_one_that_is_used(site: Site) -> None:
    """Legacy only where it has rules already (C3.5)."""
    workload = site.link.workload
    site.capture(*FLAGS, backend="detected")
    assert "ISTIO_OUTPUT" in workload.run("iptables-nft-save")
    site.capture("--cleanup-only", *FLAGS, backend="detected")
    workload.run(*["iptables-legacy", "-A", "FORWARD", "-p", "icmp", "-j", "ACCEPT"])
    try:
        site.capture(*FLAGS, backend="detected")
        assert "ISTIO_OUTPUT" in workload.run("iptables-legacy-save")
        site.capture("--cleanup-only", *FLAGS, backend="detected")
    finally:
        workload.run(*["iptables-legacy", "-F", "FORWARD"])
    assert (
        "want iptables, iptables-nft, iptables-legacy" in site.capture(*FLAGS, backend="x").output
    )


@every_backend
def test_a_lost_policy_route_is_set_again(site: Site) -> None:
    flags = (*FLAGS, "-m", "TPROXY")
    site.captured(*flags)
    site.link.workload.run(*["ip", "route", "flush", "table", "133"])
    assert "capture.unchanged" in site.captured(*flags)
    assert "local default" in site.link.workload.run(*["ip", "route", "show", "table", "133"])


@every_backend
def test_validation(site: Site) -> None:
    """The check by which CNI's repair finds pods without capture: 126 without rules (C4)."""
    check = ("--run-validation", "--skip-rule-apply")
    assert site.capture(*check).status == 126
    assert site.capture(*FLAGS, "-u", "", "--run-validation").status == 0
    site.clean()
    site.captured(*FLAGS, "--run-validation")
    assert "capture.valid" in site.captured(*check)


@every_backend
def test_a_dry_run_tells_and_does_nothing(site: Site) -> None:
    told = site.captured(*FLAGS, "-m", "TPROXY", "--dry-run")
    assert site.rules() == []
    native = site.backend == NATIVE
    assert ("redirect to :15001" if native else "REDIRECT --to-ports 15001") in told
    assert "ip -f inet rule add fwmark 1337 lookup 133\n" in told


@every_backend
@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        pytest.param(("-p", "http"), "-p 'http': want a port, 1 to 65535", id="port"),
        pytest.param(("-i", "10.0.0.0/33"), "-i '10.0.0.0/33'", id="network"),
        pytest.param(("-x", "*"), "-x '*'", id="everything-excluded"),
        pytest.param(("-m", "NAT"), "-m 'NAT': want REDIRECT or TPROXY", id="mode"),
        pytest.param(("-u", "nobody-here"), "-u 'nobody-here': no such user", id="user"),
        pytest.param(("-g", "nobody-here"), "-g 'nobody-here': no such group", id="group"),
    ],
)
def test_wrong_parameters_change_nothing(site: Site, flags: tuple[str, ...], problem: str) -> None:
    refused = site.capture(*flags)
    site.programmed.clear()
    assert refused.status == 1
    assert problem in refused.output
    assert site.rules() == []


def test_what_istios_injector_writes(site: Site) -> None:
    """The init container's command line, word by word."""
    line = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x <> -b * -d 15090,15021,15020"
    words = [word.replace("<>", "") for word in line.split()]
    assert site.captured(*words, "--log_output_level=default:warn") == ""
    assert any("ISTIO_IN_REDIRECT" in each for each in site.rules())
    assert "capture.unchanged" in site.captured(*words, "--dual-stack=false")


def test_variables_are_flags_too(site: Site) -> None:
    """Init containers are told by variables as well; flags win (C1)."""
    done = site.capture("-i", "*", ISTIO_INBOUND_PORTS=PORT, ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE="1")
    assert done.status == 0, done.output
    rules = "\n".join(site.rules())
    assert f"--dport {PORT} -j ISTIO_IN_REDIRECT" in rules
    assert "--dport 1 -j RETURN" in rules
