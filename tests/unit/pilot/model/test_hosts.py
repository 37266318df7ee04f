"""Host names: short forms, wildcards, domains of virtual hosts (pilot.md C4, F1)."""

import pytest

from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Service

LOCAL = "web.svc.cluster.local"
A = "a.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "full"),
    [
        pytest.param("reviews", "reviews.shop.svc.cluster.local", id="short-is-local"),
        pytest.param("reviews.web", "reviews.web", id="dotted-is-complete"),
        pytest.param("*", "*", id="any"),
        pytest.param("*.test", "*.test", id="wildcard"),
        pytest.param("", "", id="none"),
    ],
)
def test_expand(host: str, full: str) -> None:
    assert hosts.expand(host, "shop", "cluster.local") == full


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("a.test", "a.test", True),
        ("a.test", "A.TEST", True),
        ("a.test", "b.test", False),
        ("*.test", "a.test", True),
        ("*.test", "a.b.test", True),
        ("*.test", "test", False),
        ("*.test", "*.a.test", True),
        ("*.a.test", "*.test", False),
        ("*.test", "*.test", True),
        ("*", "a.test", True),
        ("*", "*.test", True),
        ("a.test", "*.test", False),
    ],
)
def test_matches(pattern: str, host: str, expected: bool) -> None:
    assert hosts.matches(pattern, host) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("*.test", "a.test", True), ("a.test", "*.test", True), ("*.a", "*.b", False)],
)
def test_overlaps(one: str, other: str, expected: bool) -> None:
    assert hosts.overlaps(one, other) is expected


@pytest.mark.parametrize(
    ("host", "wildcards"),
    [
        ("a.b.c", ["*.b.c", "*.c", "*"]),
        ("*.b.c", ["*.b.c", "*.c", "*"]),
        ("*", ["*"]),
        ("a", ["*"]),
    ],
)
def test_wildcards_over(host: str, wildcards: list[str]) -> None:
    assert list(hosts.wildcards_over(host)) == wildcards


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        (A, ("a", "shop", "cluster.local")),
        ("a.shop.svc", None),
        ("a.b.c.test", None),
        ("*.shop.svc.cluster.local", None),
    ],
)
def test_kubernetes_parts(host: str, parts: tuple[str, str, str] | None) -> None:
    assert hosts.kubernetes_parts(host) == parts


@pytest.mark.parametrize(
    ("host", "namespace", "dns_domain", "names"),
    [
        pytest.param(A, "shop", LOCAL, ("a", "a.shop.svc", "a.shop"), id="same-namespace"),
        pytest.param(A, "web", LOCAL, ("a.shop", "a.shop.svc"), id="other-namespace"),
        pytest.param("a.test", "web", LOCAL, (), id="other-host"),
        pytest.param("a.vm.test", "web", "b.vm.test", ("a",), id="shared-domain"),
        pytest.param("a.test", "web", "b.other", (), id="nothing-shared"),
        pytest.param("*.vm.test", "web", "b.vm.test", (), id="wildcard"),
        pytest.param("a.test", "web", "", (), id="no-domain"),
        pytest.param("vm.test", "web", "vm.test", ("vm",), id="same-name-keeps-a-label"),
    ],
)
def test_short_names(host: str, namespace: str, dns_domain: str, names: tuple[str, ...]) -> None:
    assert hosts.short_names(host, namespace, dns_domain) == names


def service(host: str = A, **fields: object) -> Service:
    return Service(host=host, namespace="shop", ports=(), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(
            service(addresses=("10.96.0.1", "fd00::1", "10.97.0.0/16")),
            [A, f"{A}.", "a.shop", "a.shop.svc", "10.96.0.1", "[fd00::1]"],
            id="vips-but-no-ranges",
        ),
        pytest.param(
            service(headless=True),
            [
                *(A, f"{A}.", "a.shop", "a.shop.svc"),
                *(f"*.{A}", f"*.{A}.", "*.a.shop", "*.a.shop.svc"),
            ],
            id="headless",
        ),
        pytest.param(
            service("x.test", aliases=("b.shop.svc.cluster.local",)),
            [
                *("x.test", "x.test.", "b.shop.svc.cluster.local"),
                *("b.shop.svc.cluster.local.", "b.shop", "b.shop.svc"),
            ],
            id="aliases",
        ),
        pytest.param(service("*.test"), ["*.test"], id="wildcard"),
        pytest.param(service("10.0.0.1"), ["10.0.0.1", "10.0.0.1."], id="address-as-host"),
    ],
)
def test_domains(of: Service, expected: list[str]) -> None:
    assert list(hosts.domains(of, "web", LOCAL)) == expected


def test_domains_have_automatic_addresses_only_for_those_who_know_them() -> None:
    automatic = service("x.test", auto_addresses=("240.240.0.1",))
    assert "240.240.0.1" in hosts.domains(automatic, "web", LOCAL, automatic=True)
    assert "240.240.0.1" not in hosts.domains(automatic, "web", LOCAL)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.1", True), ("::1", True), ("10.0.0.0/8", False), ("0.0.0.0", False), ("a", False)],  # noqa: S104
)
def test_is_single_address(address: str, expected: bool) -> None:
    assert hosts.is_single_address(address) is expected
