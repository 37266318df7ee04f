"""Virtual hosts that are asked for by name, in sessions (pilot.md B25)."""

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.xds.resources import RDS, VHDS, Resource, resource, unknown
from tests.fakes.pilot_views import FakeMesh
from tests.fakes.xds_streams import Stream, Told

WEB = "80/web"
Said = list[tuple[str, tuple[str, ...], tuple[str, ...]]]


def host(cluster: str, name: str = WEB) -> Resource:
    made = VirtualHost(name=name, domains=[name])
    made.routes.add().route.cluster = cluster
    return resource(name, VHDS, made)


def routes(*hosts: str) -> Resource:
    made = RouteConfiguration(name="80")
    for each in hosts:
        made.virtual_hosts.add(name=each, domains=[each])
    return resource("80", RDS, made)


@pytest.fixture
def mesh() -> FakeMesh:
    made = FakeMesh()
    made.put(routes(), host("a", "80/other"))
    return made


@pytest.fixture
def stream(mesh: FakeMesh) -> Stream:
    return Stream(mesh)


def accepted(stream: Stream, told: list[Told]) -> Said:
    """Type, what is there and what is gone of each response; all are acknowledged."""
    said = [(each.type, each.names, each.removed) for each in told]
    more = stream.ack(*told)
    return said + (accepted(stream, more) if more else [])


def test_a_host_that_nobody_has_is_told_without_a_body(stream: Stream) -> None:
    assert stream.ask("vhds") == []
    (told,) = stream.ask("vhds", WEB)
    assert not told.removed
    (answer,) = told.message.resources
    assert (answer.name, list(answer.aliases)) == (WEB, [WEB])
    assert not answer.HasField("resource")


def test_it_comes_once_it_is_there_and_is_taken_back_when_it_is_gone(stream: Stream) -> None:
    accepted(stream, stream.ask("vhds", WEB))
    assert stream.push() == []
    stream.mesh.put(host("a"))
    assert accepted(stream, stream.push()) == [("vhds", (WEB,), ())]
    stream.mesh.put(host("b"))
    assert accepted(stream, stream.push()) == [("vhds", (WEB,), ())]
    stream.mesh.remove(VHDS, WEB)
    assert accepted(stream, stream.push()) == [("vhds", (), (WEB,))]
    assert stream.push() == []


def test_routes_never_have_a_host_that_was_found(stream: Stream) -> None:
    """It is taken back before they come, and comes after they lost it."""
    stream.mesh.put(host("a"))
    stream.push()
    accepted(stream, stream.ask("rds", "80"))
    accepted(stream, stream.ask("vhds", WEB))
    stream.mesh.remove(VHDS, WEB)
    stream.mesh.put(routes("web"))
    assert accepted(stream, stream.push()) == [("vhds", (), (WEB,)), ("rds", ("80",), ())]
    stream.mesh.put(routes(), host("a"))
    assert accepted(stream, stream.push()) == [("rds", ("80",), ()), ("vhds", (WEB,), ())]


def test_hosts_wait_for_routes_that_wait(stream: Stream) -> None:
    stream.mesh.put(host("a"))
    stream.push()
    (first,) = stream.ask("rds", "80")
    accepted(stream, stream.ask("vhds", WEB))
    stream.mesh.remove(VHDS, WEB)
    stream.mesh.put(routes("web"))
    assert stream.push() == []
    assert accepted(stream, [first]) == [
        ("rds", ("80",), ()),
        ("vhds", (), (WEB,)),
        ("rds", ("80",), ()),
    ]


def test_a_new_stream_is_told_what_is_gone_meanwhile(stream: Stream) -> None:
    stream.mesh.put(host("a"))
    stream.push()
    version = host("a").version
    assert stream.ask("vhds", "*", WEB, initial={WEB: version}) == []
    other = Stream(FakeMesh())
    told = other.ask("vhds", "*", WEB, initial={WEB: version})
    assert accepted(other, told) == [("vhds", (), (WEB,))]


def test_unknown() -> None:
    made = unknown(VHDS, WEB)
    assert made.body == b""
    assert unknown(VHDS, WEB) is made
