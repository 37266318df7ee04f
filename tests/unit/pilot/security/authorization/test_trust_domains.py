"""Identities under the names of a mesh (Istio MeshConfig, "trustDomainAliases")."""

import pytest

from mast.pilot.core.security.authorization.trust_domains import expanded

DOMAINS = ("new", "old-td")
REST = "/ns/a/sa/b"


@pytest.mark.parametrize(
    ("pattern", "domains", "expected"),
    [
        pytest.param(f"new{REST}", DOMAINS, [f"new{REST}", f"old-td{REST}"], id="own"),
        pytest.param(f"old-td{REST}", DOMAINS, [f"new{REST}", f"old-td{REST}"], id="alias"),
        pytest.param(
            f"cluster.local{REST}", DOMAINS, [f"new{REST}", f"old-td{REST}"], id="default"
        ),
        pytest.param(f"other{REST}", DOMAINS, [f"other{REST}"], id="another-mesh"),
        pytest.param(f"*-td{REST}", DOMAINS, [f"new{REST}", f"*-td{REST}"], id="domain-suffix"),
        pytest.param(f"*other{REST}", DOMAINS, [f"*other{REST}"], id="suffix-of-another-mesh"),
        pytest.param(f"*{REST}", DOMAINS, [f"*{REST}"], id="any-domain"),
        pytest.param("*", DOMAINS, ["*"], id="anybody"),
        pytest.param("*/sa/b", DOMAINS, ["*/sa/b"], id="no-domain"),
        pytest.param("new/*", DOMAINS, ["new/*"], id="not-of-five-parts"),
        pytest.param("new/ns/a/sa/*", DOMAINS, ["new/ns/a/sa/*", "old-td/ns/a/sa/*"], id="prefix"),
        pytest.param(f"new{REST}", ("new",), [f"new{REST}"], id="no-aliases"),
    ],
)
def test_expanded(pattern: str, domains: tuple[str, ...], expected: list[str]) -> None:
    assert expanded([pattern], domains) == expected


def test_each_once() -> None:
    assert expanded([f"new{REST}", f"old-td{REST}"], DOMAINS) == [f"new{REST}", f"old-td{REST}"]
