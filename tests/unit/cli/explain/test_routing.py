"""Tables of route decisions; generated ones are compared with Envoy in tests/integration/cli."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf.json_format import ParseDict

from mast.cli.explain import routing
from mast.cli.explain.paths import Refused, normalised
from mast.cli.explain.traffic import Request
from mast.common.envoy.matchers import NotUnderstood


def request(path: str = "/", **more: Any) -> Request:
    return Request(**{"authority": "web.test", "path": path, **more})


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        pytest.param("WEB.test", "web.test", id="exact-in-any-case"),
        pytest.param("a.web.test", "*.web.test", id="longest-suffix"),
        pytest.param("a.test", "*.test", id="suffix"),
        pytest.param("web.org", "web.*", id="prefix"),
        pytest.param("other", "*", id="any"),
        pytest.param("web.test:80", "web.test", id="port-ignored"),
    ],
)
def test_virtual_host(authority: str, name: str) -> None:
    routes = RouteConfiguration(ignore_port_in_host_matching=True)
    for domain in ("*", "web.*", "*.test", "*.web.test", "web.test"):
        routes.virtual_hosts.add(name=domain, domains=[domain])
    found = routing.virtual_host(routes, authority)
    assert found is not None
    assert found.name == name


def test_no_virtual_host() -> None:
    assert routing.virtual_host(RouteConfiguration(), "web.test") is None


@pytest.mark.parametrize(
    ("match", "asked", "lacking"),
    [
        pytest.param({"prefix": "/a"}, {"path": "/b"}, "path is not /a*", id="prefix"),
        pytest.param({"path": "/a"}, {"path": "/b"}, "path is not /a", id="path"),
        pytest.param({"pathSeparatedPrefix": "/a"}, {"path": "/ab"}, "path is not /a/*", id="part"),
        pytest.param(
            {"safeRegex": {"regex": "/a.+"}}, {"path": "/a"}, "path is not regex /a.+", id="regex"
        ),
        pytest.param({"connectMatcher": {}}, {}, "path is not CONNECT", id="connect"),
        pytest.param({"prefix": "/", "grpc": {}}, {}, "it is no gRPC", id="grpc"),
        pytest.param(
            {"prefix": "/", "headers": [{"name": "x", "presentMatch": True}]},
            {},
            "header x is missing",
            id="header",
        ),
        pytest.param(
            {"prefix": "/", "queryParameters": [{"name": "q", "stringMatch": {"exact": "1"}}]},
            {"path": "/?q=2"},
            "parameter q is '2'",
            id="parameter",
        ),
        pytest.param(
            {"prefix": "/", "tlsContext": {"presented": True}},
            {},
            "the client certificate",
            id="certificate",
        ),
        pytest.param(
            {
                "prefix": "/",
                "dynamicMetadata": [
                    {
                        "filter": "jwt",
                        "path": [{"key": "payload"}, {"key": "group"}],
                        "value": {"stringMatch": {"exact": "dev"}},
                    }
                ],
            },
            {},
            "claim group",
            id="claim",
        ),
        pytest.param(
            {"prefix": "/", "runtimeFraction": {"defaultValue": {}}},
            {},
            "it is switched off",
            id="fraction",
        ),
    ],
)
def test_what_a_request_lacks(match: dict[str, Any], asked: dict[str, Any], lacking: str) -> None:
    host = VirtualHost(routes=[Route(match=ParseDict(match, RouteMatch())), Route(match={})])
    host.routes[1].match.prefix = "/"
    found = routing.chosen_route(host, request(**asked))
    assert isinstance(found, routing.Chosen)
    assert (found.position, found.passed_over) == (1, (lacking,))
    del host.routes[1]
    assert routing.chosen_route(host, request(**asked)) == [lacking]


@pytest.mark.parametrize(
    "host",
    [
        pytest.param({"matcher": {}}, id="tree"),
        pytest.param({"routes": [{"match": {}}]}, id="no-path"),
        pytest.param(
            {"routes": [{"match": {"prefix": "/", "filterState": [{"key": "a"}]}}]},
            id="filter-state",
        ),
    ],
)
def test_what_cannot_be_told(host: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood):
        routing.chosen_route(ParseDict(host, VirtualHost()), request())


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param({"cluster": "a"}, [("a", 100)], id="one"),
        pytest.param({"clusterHeader": "to"}, [("b", 100)], id="by-header"),
        pytest.param(
            {
                "weightedClusters": {
                    "clusters": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]
                }
            },
            [("a", 75), ("b", 25)],
            id="weighted",
        ),
    ],
)
def test_shares(action: dict[str, Any], expected: list[tuple[str, float]]) -> None:
    route = ParseDict({"route": action}, Route())
    found = routing.shares(route, request(headers=[("to", "b")]))
    assert [(each.cluster, each.percent) for each in found] == expected


def test_shares_that_a_plugin_decides() -> None:
    with pytest.raises(NotUnderstood):
        routing.shares(Route(route={"cluster_specifier_plugin": "x"}), request())


def test_a_redirect_with_a_port_of_the_old_scheme() -> None:
    route = ParseDict({"match": {"prefix": "/"}, "redirect": {"httpsRedirect": True}}, Route())
    asked = request("/a", authority="web.test:80")
    assert routing.redirected(route, asked) == (301, "https://web.test/a")


def test_wrong_expressions_of_rewrites() -> None:
    rewrite = {"regexRewrite": {"pattern": {"regex": "("}, "substitution": "a"}}
    route = ParseDict({"route": {"cluster": "a", **rewrite}}, Route())
    with pytest.raises(NotUnderstood):
        routing.forwarded(route, request())


@pytest.mark.parametrize(
    ("settings", "authority", "expected"),
    [
        pytest.param({"stripAnyHostPort": True}, "a:81", "a", id="any"),
        pytest.param({"stripMatchingHostPort": True}, "a:80", "a", id="matching"),
        pytest.param({"stripMatchingHostPort": True}, "a:81", "a:81", id="another"),
        pytest.param({"stripAnyHostPort": True}, "a", "a", id="none"),
    ],
)
def test_stripped_authority(settings: dict[str, Any], authority: str, expected: str) -> None:
    manager = ParseDict(settings, HttpConnectionManager())
    found = routing.stripped_authority(manager, request(authority=authority), 80)
    assert found.authority == expected


@pytest.mark.parametrize(
    ("settings", "path", "expected"),
    [
        pytest.param({}, "/a/../b//c", "/a/../b//c", id="as-it-is"),
        pytest.param({"normalizePath": True}, "/a/../%62//./c?x=..", "/b//c?x=..", id="normalised"),
        pytest.param({"normalizePath": True}, "/a/..", "/", id="parent-at-the-end"),
        pytest.param({"mergeSlashes": True}, "//a///b", "/a/b", id="merged"),
        pytest.param(
            {"pathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD"}, "/a%2Fb", "/a/b", id="opened"
        ),
    ],
)
def test_normalised(settings: dict[str, Any], path: str, expected: str) -> None:
    manager = ParseDict(settings, HttpConnectionManager())
    assert normalised(manager, request(path)).path == expected


@pytest.mark.parametrize(
    ("action", "status", "location"),
    [
        pytest.param("REJECT_REQUEST", 400, "", id="rejected"),
        pytest.param("UNESCAPE_AND_REDIRECT", 307, "/a/b?c", id="redirected"),
    ],
)
def test_escaped_slashes(action: str, status: int, location: str) -> None:
    manager = ParseDict({"pathWithEscapedSlashesAction": action}, HttpConnectionManager())
    with pytest.raises(Refused) as refused:
        normalised(manager, request("/a%2fb?c"))
    assert (refused.value.status, refused.value.location) == (status, location)
