"""Discovery that follows changes knows what one knows that is told the outcome at once.

`python -m tests.fuzz --of converter` draws more; MAST_PARSER_CASES says how many of each.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from istio.mesh.v1alpha1.config_pb2 import LabelSelector, MeshConfig
from istio.mesh.v1alpha1.network_pb2 import MeshNetworks, Network
from mast.common.kubernetes.decoding import Decoder
from mast.galley.core.discovery import reading
from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.objects import (
    Backend,
    ClusterNode,
    Item,
    Namespace,
    ObjectName,
    Pod,
    Readiness,
    Service,
    ServicePort,
    Slice,
    SliceId,
)
from mast.galley.core.discovery.places import NETWORK, REGION
from mast.galley.core.discovery.reading import is_read, read
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.discovery.shapes import SHAPES

NAMESPACES = ("shop", "shop", "shop", "test")
ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.2.0.1", "fd00::1")
NODES = ("n1", "n2")

ANY_TEXT = st.characters(codec=None)

few = settings(
    deadline=None,
    max_examples=int(os.environ.get("MAST_PARSER_CASES", "100")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
names = st.builds(ObjectName, st.sampled_from(NAMESPACES), st.sampled_from(("web", "web", "api")))
pod_names = st.builds(ObjectName, st.sampled_from(NAMESPACES), st.sampled_from(("a", "b", "c")))
readiness = st.sampled_from(Readiness)
backends = st.builds(
    Backend,
    address=st.sampled_from(ADDRESSES),
    ports=st.sampled_from(((("http", 8080),), (("http", 8081), ("admin", 9000)), ())),
    readiness=readiness,
    pod=st.none() | pod_names,
    node=st.sampled_from(("", *NODES)),
)
services = st.builds(
    Service,
    id=names,
    labels=st.sampled_from(({}, {"istio.io/persistent-session": "c"})),
    headless=st.booleans(),
    alias_of=st.sampled_from(("", "", "example.com")),
    ports=st.just((ServicePort(name="http", number=80),)),
    node_selector=st.sampled_from((None, {}, {REGION: "eu"})),
)
slices = st.builds(
    lambda kind, name, service, found: Slice(
        id=SliceId(kind, service.namespace, service.name if kind == "Endpoints" else name),
        service=service,
        backends=tuple(found),
    ),
    st.sampled_from(("EndpointSlice", "EndpointSlice", "Endpoints")),
    st.sampled_from(("s1", "s2")),
    names,
    st.lists(backends, max_size=3),
)
pods = st.builds(
    Pod,
    id=pod_names,
    labels=st.sampled_from(({}, {NETWORK: "own"}, {"istio-locality": "us.b"})),
    addresses=st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True).map(tuple),
    on_host_network=st.booleans(),
    node=st.sampled_from(("", *NODES)),
    service_account=st.sampled_from(("one", "two")),
    readiness=readiness,
    finished=st.sampled_from((False, False, False, True)),
)
nodes = st.builds(
    ClusterNode,
    id=st.builds(ObjectName, st.just(""), st.sampled_from(NODES)),
    labels=st.sampled_from(({}, {REGION: "eu"}, {REGION: "us"})),
    addresses=st.sampled_from(((), ("203.0.113.1",))),
)
namespaces = st.builds(
    Namespace,
    id=st.builds(ObjectName, st.just(""), st.sampled_from((*NAMESPACES, "istio-system"))),
    labels=st.sampled_from(({}, {NETWORK: "whole"}, {"mesh": "yes"})),
)
gone = st.sampled_from((False, False, True))
Change = tuple[Item, bool]
changes: st.SearchStrategy[Change] = st.tuples(
    st.one_of(services, slices, pods, nodes, nodes, namespaces), gone
)


WEB, API = ObjectName("shop", "web"), ObjectName("shop", "api")
A, N1 = ObjectName("shop", "a"), ObjectName("", "n1")
HTTP = (("http", 8080),)
BASE: tuple[Item, ...] = (
    Service(id=WEB, node_selector={}),
    Service(id=API),
    Slice(
        id=SliceId("EndpointSlice", "shop", "s1"),
        service=WEB,
        backends=(Backend(address="10.1.0.1", ports=HTTP, pod=A),),
    ),
    Slice(
        id=SliceId("EndpointSlice", "shop", "s2"),
        service=API,
        backends=(
            Backend(address="10.1.0.2", ports=HTTP, node="n2"),
            Backend(address="10.2.0.1", ports=HTTP),
        ),
    ),
    Pod(id=A, addresses=("10.1.0.1",), node="n1"),
    Pod(id=ObjectName("shop", "b"), addresses=("10.2.0.1",)),
    ClusterNode(id=N1, labels={REGION: "eu"}),
)
"""Each object leads to others in one way only, so that no way stands in for another."""


def networks() -> MeshNetworks:
    found = MeshNetworks(networks={"range": Network()})
    found.networks["range"].endpoints.add(from_cidr="10.2.0.0/16")
    return found


SETTINGS = (
    Settings(),
    Settings(networks=networks()),
    Settings(mesh=MeshConfig(discovery_selectors=[LabelSelector(matchLabels={"mesh": "yes"})])),
)


def tell(converter: Converter, change: Change) -> None:
    item, is_gone = change
    match item:
        case Service():
            converter.put_service(item.id, None if is_gone else item)
        case Slice():
            converter.put_slice(item.id, None if is_gone else item)
        case Pod():
            converter.put_pod(item.id, None if is_gone else item)
        case ClusterNode():
            converter.put_node(item.id, None if is_gone else item)
        case Namespace():
            converter.put_namespace(item.id, None if is_gone else item)


def outcome(steps: Sequence[Change]) -> list[Item]:
    """What is there in the end."""
    left = {(type(item), item.id): change for change in steps for item in change[:1]}
    return [item for item, is_gone in left.values() if not is_gone]


def at_once(items: Sequence[Item], how: Settings) -> dict[str, Any]:
    converter = Converter(how)
    for item in items:
        converter.put(item)
    return dict(converter.settle())


@few
@given(
    st.lists(changes, min_size=1, max_size=6),
    st.sampled_from(SETTINGS),
    st.sampled_from((None, None, *SETTINGS)),
    st.integers(1, 2),
    st.randoms(use_true_random=False),
)
def test_following_equals_being_told_at_once(
    steps: list[Change], first: Settings, last: Settings | None, pace: int, order: Any
) -> None:
    converter = Converter(first)
    for each in BASE:
        converter.put(each)
    known = dict(converter.settle())
    for number, step in enumerate(steps):
        tell(converter, step)
        if last is not None and number == len(steps) // 2:
            converter.configure(last)
        if number % pace == 0:
            known.update(converter.settle())
    known.update(converter.settle())
    items = outcome([*((each, False) for each in BASE), *steps])
    order.shuffle(items)
    expected = at_once(items, last or first)
    assert {key: each for key, each in known.items() if each is not None} == expected
    assert converter.settle() == {}


@few
@given(st.lists(changes, min_size=1, max_size=12), changes)
def test_a_change_and_its_reverse_leave_nothing(steps: list[Change], change: Change) -> None:
    converter = Converter()
    for step in steps:
        tell(converter, step)
    before = dict(converter.settle())
    item = change[0]
    known = {(type(each), each.id): each for each in outcome(steps)}
    old = known.get((type(item), item.id))
    tell(converter, (item, False))
    known_after = {**before, **converter.settle()}
    tell(converter, (item, True) if old is None else (old, False))
    known_after.update(converter.settle())
    assert {key: each for key, each in known_after.items() if each is not None} == before


KINDS = (
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "Endpoints"),
    ("v1", "Pod"),
    ("v1", "Node"),
    ("v1", "Namespace"),
)
FIELDS = sorted(set(re.findall(r"""["'](\w+)["']""", inspect.getsource(reading))))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY_TEXT, max_size=4)
objects = st.recursive(
    scalars | st.sampled_from(("None", "10.0.0.1", "TCP", "Ready", "True")),
    lambda inner: (
        st.dictionaries(st.sampled_from(FIELDS) | st.text(ANY_TEXT), inner, max_size=5)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=10,
)
# As they may come over the network, where numbers are finite and texts have whole characters.
wire_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4)
wire_objects = st.recursive(
    wire_scalars | st.sampled_from(("None", "10.0.0.1", "TCP", "Ready", "True")),
    lambda inner: (
        st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=5)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=20,
)


@few
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), objects, max_size=6))
def test_any_object_is_read_or_refused(kind: tuple[str, str], content: dict[str, Any]) -> None:
    assert is_read(*kind)
    found = read({**content, "apiVersion": kind[0], "kind": kind[1]})
    assert found.item is None or not found.is_broken
    if found.item is not None:
        converter = Converter()
        converter.put(found.item)
        for key, message in converter.settle().items():
            assert message is not None, key
            message.SerializeToString(deterministic=True)


@few
@given(
    st.sampled_from([each for each in KINDS if each[1] in SHAPES]),
    st.dictionaries(st.sampled_from(FIELDS), wire_objects, max_size=6),
)
def test_fields_out_of_the_shape_are_not_read(
    kind: tuple[str, str], content: dict[str, Any]
) -> None:
    whole = {**content, "apiVersion": kind[0], "kind": kind[1]}
    body = json.dumps({"metadata": {}, "items": [whole]}).encode()
    (found,) = Decoder(SHAPES[kind[1]]).page(body).objects
    assert read({**found, "apiVersion": kind[0], "kind": kind[1]}) == read(whole)


@few
@given(services)
def test_equal_objects_change_nothing(service: Service) -> None:
    converter = Converter()
    converter.put(service)
    converter.settle()
    converter.put(replace(service))
    assert converter.settle() == {}
