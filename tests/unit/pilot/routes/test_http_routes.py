"""Routes of VirtualServices and of services without one (pilot.md F2, C3, F4)."""

from dataclasses import replace

import pytest
from envoy.config.route.v3.route_components_pb2 import Route

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    PortSelector,
    VirtualService,
)
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Additions
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.routes.http_routes import default_route, virtual_service_routes
from mast.pilot.core.routes.route_actions import Backend, Setting
from mast.pilot.core.scope.matches import Caller
from tests.support.messages import made

META = ConfigMeta(
    collection="istio/networking/v1alpha3/virtualservices",
    group="networking.istio.io",
    api_version="v1",
    kind="VirtualService",
    namespace="shop",
    name="reviews",
)
CALLER = Caller(port=80, namespace="shop", labels={"app": "web"})


def backend(destination: Destination) -> Backend:
    return Backend(
        cluster=names.outbound_cluster(destination.port.number or 80, "", destination.host),
        additions=Additions(),
    )


SETTING = Setting(port=80, backend=backend)


def routes(text: str, meta: ConfigMeta = META) -> list[Route]:
    config = Config(meta, made(VirtualService, text))
    return list(virtual_service_routes(config, CALLER, SETTING))


TO_A = "route: [{destination: {host: a.test}}]"


@pytest.mark.parametrize(
    ("http", "paths"),
    [
        pytest.param(
            f"- {{match: [{{uri: {{exact: /1}}}}, {{uri: {{exact: /2}}}}], {TO_A}}}\n- {{{TO_A}}}",
            ["/1", "/2", ""],
            id="one-route-per-match",
        ),
        pytest.param(
            f"- {{{TO_A}}}\n- {{match: [{{uri: {{exact: /1}}}}], {TO_A}}}",
            [""],
            id="a-catch-all-ends-it",
        ),
        pytest.param(
            f"- {{match: [{{port: 81}}, {{uri: {{exact: /2}}}}], {TO_A}}}",
            ["/2"],
            id="matches-of-others-are-skipped",
        ),
        pytest.param(f"- {{match: [{{port: 81}}], {TO_A}}}", [], id="none-is-left"),
        pytest.param("[]", [], id="no-http"),
    ],
)
def test_routes_in_order(http: str, paths: list[str]) -> None:
    found = routes(f"hosts: [reviews]\nhttp:\n{http}" if http != "[]" else "hosts: [reviews]")
    assert [each.match.path for each in found] == paths


@pytest.mark.parametrize(
    ("name", "match", "expected"),
    [("", "", ""), ("r", "", "r"), ("r", "m", "r.m"), ("", "m", ".m")],
)
def test_route_name(name: str, match: str, expected: str) -> None:
    (route,) = routes(f"http: [{{name: '{name}', match: [{{name: '{match}'}}], {TO_A}}}]")
    assert route.name == expected


def test_origin_and_stat_prefix() -> None:
    (route,) = routes(f"http: [{{match: [{{statPrefix: stats}}], {TO_A}}}]")
    origin = route.metadata.filter_metadata["istio"].fields["config"].string_value
    assert origin == "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews"
    assert route.stat_prefix == "stats"


@pytest.mark.parametrize(
    ("match", "operation"),
    [
        ("uri: {exact: /e}", "a.test:80/e"),
        ("uri: {prefix: /p}", "a.test:80/p*"),
        ("uri: {regex: '/r.*'}", "a.test:80/r.*"),
        ("method: {exact: GET}", "a.test:80/*"),
    ],
)
def test_operation_of_a_destination(match: str, operation: str) -> None:
    (route,) = routes(f"http: [{{match: [{{{match}}}], {TO_A}}}]")
    assert route.decorator.operation == operation


def test_operation_of_several_destinations() -> None:
    one = "{destination: {host: a.test}, weight: 1}"
    (route,) = routes(f"http: [{{route: [{one}, {one}]}}]")
    assert route.decorator.operation == "reviews:80/*"


def test_semantics_of_other_apis() -> None:
    """A prefix of Ingress and Gateway API means whole path segments (pilot.md F)."""
    meta = replace(META, annotations={"internal.istio.io/route-semantics": "ingress"})
    (route,) = routes(f"http: [{{match: [{{uri: {{prefix: /p}}}}], {TO_A}}}]", meta)
    assert route.match.path_separated_prefix == "/p"
    assert route.decorator.operation == "a.test:80/p/*"


def test_default_route() -> None:
    destination = Destination(host="a.test", port=PortSelector(number=8080))
    route = default_route(destination, SETTING)
    assert (route.name, route.match.prefix) == ("default", "/")
    assert route.route.cluster == "outbound|8080||a.test"
    assert route.decorator.operation == "a.test:8080/*"
    assert route.route.retry_policy.num_retries.value == 2
