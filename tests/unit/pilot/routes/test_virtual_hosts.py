"""Domains of virtual hosts (pilot.md C5, C6)."""

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost
from hypothesis import given
from hypothesis import strategies as st

from mast.pilot.core.filters.extensions import NOTHING, Additions
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.routes.virtual_hosts import (
    Claim,
    allotted,
    blocking,
    candidate,
    passing,
    ported,
)
from tests.support.messages import plain, read

ROUTE = Route(match=RouteMatch(prefix="/"))


def claim(host: str, *other: str, own: tuple[str, ...] = (), age: int = 0, port: int = 80) -> Claim:
    return Claim(host=host, port=port, own=own or (host,), other=other, age=(age, host, ""))


def domains(*claims: Claim) -> dict[str, list[str]]:
    return {each.name: list(given) for each, given in allotted(claims)[0].items()}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param(
            [claim("b.test", "b"), claim("a.test", "a")],
            {"a.test:80": ["a.test", "a"], "b.test:80": ["b.test", "b"]},
            id="sorted-by-name",
        ),
        pytest.param(
            [claim("a.ns.svc", "a.ns", age=1), claim("a.ns", age=2)],
            {"a.ns.svc:80": ["a.ns.svc"], "a.ns:80": ["a.ns"]},
            id="a-full-name-beats-an-older-short-name",
        ),
        pytest.param(
            [claim("b.test", "10.0.0.1", age=1), claim("a.test", "10.0.0.1", age=2)],
            {"a.test:80": ["a.test"], "b.test:80": ["b.test", "10.0.0.1"]},
            id="the-oldest-has-an-address",
        ),
        pytest.param(
            [claim("A.test", age=1), claim("a.TEST", "x", age=2)],
            {"A.test:80": ["A.test"], "a.TEST:80": ["x"]},
            id="case-does-not-matter",
        ),
        pytest.param(
            [claim("a.test", age=1), claim("A.test", age=2)],
            {"a.test:80": ["a.test"]},
            id="without-domains-it-is-left-out",
        ),
    ],
)
def test_domains(claims: list[Claim], expected: dict[str, list[str]]) -> None:
    assert domains(*claims) == expected
    assert domains(*reversed(claims)) == expected


def test_losses_are_told() -> None:
    _, losses = allotted([claim("a.test", "x", age=1), claim("b.test", "x", age=2)])
    assert [each.key for each in losses] == ["x b.test:80"]
    assert "do not go to b.test: a.test:80 has" in losses[0].message


def test_the_message() -> None:
    additions = Additions(
        mutations=HeaderMutations(request_add=(header_addition("a", "1", ADD),)), metadata={}
    )
    one = candidate(Claim("a", 1, ("a",), (), (0, "", "")), [ROUTE], additions)
    made = VirtualHost.FromString(one.content)
    assert plain(made) == read("""
        name: a:1
        routes: [{match: {prefix: /}}]
        include_request_attempt_count: true
        request_headers_to_add: [{header: {key: a, value: '1'}}]
    """)


names = st.sampled_from(["a", "b", "A", "c.d", "C.D"])


@given(st.lists(st.tuples(names, st.lists(names, max_size=3), st.integers(0, 2)), max_size=6))
def test_no_domain_twice(hosts: list[tuple[str, list[str], int]]) -> None:
    """Envoy refuses a domain that occurs twice, in whatever case."""
    made, _ = allotted(
        claim(host, *dict.fromkeys(other), age=age, port=number)
        for number, (host, other, age) in enumerate(hosts)
    )
    every = [domain.lower() for given in made.values() for domain in given]
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
