"""Which addresses a name has (citadel-and-agent.md B8.2, B8.4)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core.names import Answer, Names, names

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def entry(table: NameTable, host: str, ip: str, **fields: str) -> None:
    info = table.table[host]
    info.ips.append(ip)
    for name, value in fields.items():
        setattr(info, name, value)


def mesh() -> Names:
    table = NameTable()
    kubernetes = {"registry": "Kubernetes"}
    entry(
        table,
        "reviews.shop.svc.cluster.local",
        "10.0.0.1",
        shortname="reviews",
        namespace="shop",
        **kubernetes,
    )
    entry(
        table,
        "ratings.other.svc.cluster.local",
        "10.0.0.2",
        shortname="ratings",
        namespace="other",
        **kubernetes,
    )
    entry(
        table,
        "db-0.db.shop.svc.cluster.local",
        "10.0.0.3",
        shortname="db-0.db",
        namespace="shop",
        **kubernetes,
    )
    entry(table, "laptop.shop.svc.cluster.local", "10.0.0.4", shortname="laptop", namespace="shop")
    entry(table, "api.example.com", "10.0.0.5", registry="External")
    entry(table, "*.example.com", "10.0.0.6", registry="External")
    entry(table, "*.deep.example.com", "10.0.0.7", registry="External")
    entry(table, "Mixed.Example.ORG", "10.0.0.8", registry="External")
    entry(table, "far.shop.svc.other.domain", "10.0.0.9", shortname="far", namespace="shop")
    table.table["nowhere.example.net"].ips.append("not an address")
    return names(table, namespace="shop", domain="shop.svc.cluster.local", search=SEARCH)


@pytest.mark.parametrize(
    ("asked", "ip"),
    [
        pytest.param("reviews.shop.svc.cluster.local", "10.0.0.1", id="whole-name"),
        pytest.param("reviews.shop.svc.cluster.local.", "10.0.0.1", id="final-dot"),
        pytest.param("REVIEWS.shop", "10.0.0.1", id="any-case"),
        pytest.param("reviews.shop", "10.0.0.1", id="with-namespace"),
        pytest.param("reviews.shop.svc", "10.0.0.1", id="with-svc"),
        pytest.param("reviews", "10.0.0.1", id="short-in-own-namespace"),
        pytest.param("ratings.other", "10.0.0.2", id="other-namespace"),
        pytest.param("ratings", None, id="short-in-other-namespace"),
        pytest.param("db-0.db", "10.0.0.3", id="pod-of-a-headless-service"),
        pytest.param("laptop", "10.0.0.4", id="kubernetes-form-from-any-registry"),
        pytest.param("api.example.com", "10.0.0.5", id="host-beats-wildcard"),
        pytest.param("x.example.com", "10.0.0.6", id="wildcard"),
        pytest.param("a.b.example.com", "10.0.0.6", id="wildcard-many-labels"),
        pytest.param("x.deep.example.com", "10.0.0.7", id="longest-wildcard"),
        pytest.param("example.com", None, id="wildcard-needs-a-label"),
        pytest.param("mixed.example.org", "10.0.0.8", id="table-in-any-case"),
        pytest.param("far", None, id="other-cluster-domain-has-no-short-names"),
        pytest.param("far.shop.svc.other.domain", "10.0.0.9", id="other-cluster-domain"),
        pytest.param("nowhere.example.net", None, id="no-usable-address"),
        pytest.param("unknown.shop.svc.cluster.local", None, id="unknown"),
    ],
)
def test_lookup(asked: str, ip: str | None) -> None:
    found = mesh().lookup(asked)
    assert (found and found.addresses) == ((ip_address(ip),) if ip else None)
    assert not (found and found.alias)


@pytest.mark.parametrize(
    ("asked", "alias", "ip"),
    [
        pytest.param(
            "api.example.com.shop.svc.cluster.local", "api.example.com", "10.0.0.5", id="host"
        ),
        pytest.param(
            "x.example.com.shop.svc.cluster.local", "x.example.com", "10.0.0.6", id="wildcard"
        ),
        pytest.param(
            "ratings.other.shop.svc.cluster.local", "ratings.other", "10.0.0.2", id="short"
        ),
    ],
)
def test_first_search_domain_gives_an_alias(asked: str, alias: str, ip: str) -> None:
    assert mesh().lookup(asked) == Answer((ip_address(ip),), alias=alias)


def test_only_the_first_search_domain_counts() -> None:
    assert mesh().lookup("api.example.com.svc.cluster.local") is None


def test_without_search_domain() -> None:
    table = NameTable()
    entry(table, "api.example.com", "10.0.0.5")
    found = names(table, namespace="shop", domain="shop.svc.cluster.local", search=())
    assert found.lookup("api.example.com") is not None
    assert found.lookup("api.example.com.shop.svc.cluster.local") is None


def test_kubernetes_wins_over_service_entries() -> None:
    table = NameTable()
    entry(table, "reviews.shop", "192.0.2.1", registry="External")
    entry(
        table,
        "reviews.shop.svc.cluster.local",
        "10.0.0.1",
        registry="Kubernetes",
        shortname="reviews",
        namespace="shop",
    )
    found = names(table, namespace="shop", domain="shop.svc.cluster.local", search=())
    answer = found.lookup("reviews.shop")
    assert answer is not None
    assert answer.addresses == (ip_address("10.0.0.1"),)


def test_a_host_wins_over_a_short_form() -> None:
    table = NameTable()
    for host, ip in (("reviews.shop.svc.cluster.local", "10.0.0.1"), ("reviews.shop", "10.0.0.2")):
        entry(table, host, ip, registry="Kubernetes", shortname="reviews", namespace="shop")
    found = names(table, namespace="shop", domain="shop.svc.cluster.local", search=())
    answer = found.lookup("reviews.shop")
    assert answer is not None
    assert answer.addresses == (ip_address("10.0.0.2"),)


def test_alternative_hosts() -> None:
    table = NameTable()
    entry(table, "a.example.com", "10.0.0.1")
    table.table["a.example.com"].alt_hosts.append("Alias.example.com")
    found = names(table, namespace="shop", domain="shop.svc.cluster.local", search=())
    assert found.lookup("alias.example.com") is not None


def test_families() -> None:
    both = Answer((ip_address("10.0.0.1"), ip_address("fd00::1")))
    assert [str(each) for each in both.family(4)] == ["10.0.0.1"]
    assert [str(each) for each in both.family(6)] == ["fd00::1"]


@given(st.text(alphabet="ab.*-", max_size=30))
def test_never_raises(asked: str) -> None:
    mesh().lookup(asked)
