"""Header operations (pilot.md F, headers)."""

from envoy.config.route.v3.route_components_pb2 import Route

from istio.networking.v1alpha3.virtual_service_pb2 import Headers
from mast.pilot.core.filters.header_operations import (
    ADD,
    HeaderMutations,
    header_addition,
    header_mutations,
)
from tests.support.messages import made, plain, read

HEADERS = """
request:
  set: {b: '2', a: '50%', ':path': /x, Host: set.test}
  add: {c: '3', ':authority': added.test}
  remove: [d, host, ':method']
response:
  set: {e: '5'}
  add: {f: '6'}
  remove: [g]
"""


def test_mutations_of_a_route() -> None:
    mutations = header_mutations(made(Headers, HEADERS))
    route = Route()
    mutations.apply(route)
    assert plain(route) == read("""
        request_headers_to_add:
        - {header: {key: a, value: 50%%}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
        - {header: {key: b, value: '2'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
        - {header: {key: c, value: '3'}}
        request_headers_to_remove: [d]
        response_headers_to_add:
        - {header: {key: e, value: '5'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
        - {header: {key: f, value: '6'}}
        response_headers_to_remove: [g]
    """)
    assert mutations.host == "set.test"


def test_host_may_be_added_too() -> None:
    assert header_mutations(made(Headers, "request: {add: {host: a.test}}")).host == "a.test"
    assert header_mutations(Headers()) == HeaderMutations()


def test_mutations_accumulate() -> None:
    route = Route()
    for value in ("1", "2"):
        HeaderMutations(request_add=(header_addition("a", value, ADD),)).apply(route)
    assert [each.header.value for each in route.request_headers_to_add] == ["1", "2"]
