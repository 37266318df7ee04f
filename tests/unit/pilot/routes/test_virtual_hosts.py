"""Domains of virtual hosts (pilot.md C5, C6)."""

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch
from hypothesis import given
from hypothesis import strategies as st

from mast.pilot.core.filters.extensions import NOTHING, Additions
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.routes.virtual_hosts import (
    Candidate,
    blocking,
    passing,
    ported,
    virtual_hosts,
)
from tests.support.messages import plain, read

ROUTE = Route(match=RouteMatch(prefix="/"))


def candidate(
    host: str, *other: str, own: tuple[str, ...] = (), age: int = 0, port: int = 80
) -> Candidate:
    return Candidate(
        host=host, port=port, own=own or (host,), other=other, routes=[ROUTE], age=(age, host, "")
    )


def domains(*candidates: Candidate) -> dict[str, list[str]]:
    return {each.name: list(each.domains) for each in virtual_hosts(candidates)[0]}


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param(
            [candidate("b.test", "b"), candidate("a.test", "a")],
            {"a.test:80": ["a.test", "a"], "b.test:80": ["b.test", "b"]},
            id="sorted-by-name",
        ),
        pytest.param(
            [candidate("a.ns.svc", "a.ns", age=1), candidate("a.ns", age=2)],
            {"a.ns.svc:80": ["a.ns.svc"], "a.ns:80": ["a.ns"]},
            id="a-full-name-beats-an-older-short-name",
        ),
        pytest.param(
            [candidate("b.test", "10.0.0.1", age=1), candidate("a.test", "10.0.0.1", age=2)],
            {"a.test:80": ["a.test"], "b.test:80": ["b.test", "10.0.0.1"]},
            id="the-oldest-has-an-address",
        ),
        pytest.param(
            [candidate("A.test", age=1), candidate("a.TEST", "x", age=2)],
            {"A.test:80": ["A.test"], "a.TEST:80": ["x"]},
            id="case-does-not-matter",
        ),
        pytest.param(
            [candidate("a.test", age=1), candidate("A.test", age=2)],
            {"a.test:80": ["a.test"]},
            id="without-domains-it-is-left-out",
        ),
    ],
)
def test_domains(candidates: list[Candidate], expected: dict[str, list[str]]) -> None:
    assert domains(*candidates) == expected
    assert domains(*reversed(candidates)) == expected


def test_losses_are_told() -> None:
    _, losses = virtual_hosts([candidate("a.test", "x", age=1), candidate("b.test", "x", age=2)])
    assert [each.key for each in losses] == ["x b.test:80"]
    assert "do not go to b.test: a.test:80 has" in losses[0].message


def test_the_message() -> None:
    additions = Additions(
        mutations=HeaderMutations(request_add=(header_addition("a", "1", ADD),)), metadata={}
    )
    one = Candidate(
        host="a", port=1, own=["a"], routes=[ROUTE], age=(0, "", ""), additions=additions
    )
    ((made,), _) = virtual_hosts([one])
    assert plain(made) == read("""
        name: a:1
        domains: [a]
        routes: [{match: {prefix: /}}]
        include_request_attempt_count: true
        request_headers_to_add: [{header: {key: a, value: '1'}}]
    """)


names = st.sampled_from(["a", "b", "A", "c.d", "C.D"])


@given(st.lists(st.tuples(names, st.lists(names, max_size=3), st.integers(0, 2)), max_size=6))
def test_no_domain_twice(hosts: list[tuple[str, list[str], int]]) -> None:
    """Envoy refuses a domain that occurs twice, in whatever case."""
    made, _ = virtual_hosts(
        candidate(host, *dict.fromkeys(other), age=age, port=number)
        for number, (host, other, age) in enumerate(hosts)
    )
    every = [domain.lower() for each in made for domain in each.domains]
    assert sorted(every) == sorted(set(every))
    wanted = {host.lower() for host, _, _ in hosts}
    assert set(every) == wanted.union(name.lower() for _, other, _ in hosts for name in other)


@pytest.mark.parametrize(
    ("port", "expected"), [(80, ["a", "a:80", "b", "b:80"]), (8080, ["a:8080", "b:8080"])]
)
def test_ported(port: int, expected: list[str]) -> None:
    assert list(ported(["a", "b"], port)) == expected


def test_passing() -> None:
    assert plain(passing("PassthroughCluster", NOTHING)) == read("""
        name: allow_any
        domains: ['*']
        include_request_attempt_count: true
        routes:
        - name: allow_any
          match: {prefix: /}
          route: {cluster: PassthroughCluster, timeout: 0s}
    """)


def test_blocking() -> None:
    assert plain(blocking()) == read("""
        name: block_all
        domains: ['*']
        include_request_attempt_count: true
        routes: [{name: block_all, match: {prefix: /}, direct_response: {status: 502}}]
    """)
