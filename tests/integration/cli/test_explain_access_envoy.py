"""How rules of RBAC are explained, against Envoy itself: generated rules, generated callers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal, SourcedMetadata
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher
from envoy.type.v3.range_pb2 import Int32Range
from google.protobuf.wrappers_pb2 import UInt32Value
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mast.cli.explain.rbac import ruling
from mast.cli.main import app
from mast.pilot.core.packing import packed, typed_extension
from tests.support.authorization_cases import (
    ADDRESSES,
    HTTP_PORTS,
    IDENTITIES,
    LABELS,
    NAMESPACE,
    SERVER_NAMES,
    SOURCES,
    TCP_PORTS,
    Case,
    calls,
    cases,
    chance_of,
)
from tests.support.authorization_envoy import SPIFFE, arrival, inbound, observed, running
from tests.support.authorization_reference import Call, Place, applies

T = TypeVar("T")

PLACE = Place(namespace=NAMESPACE, labels=LABELS)
PLAIN = Case(PLACE, (), ())
GUARDS, REQUESTS, STREAMS = 30, 24, 6

texts = st.sampled_from(["admin", "user", "/a", "/admin", "shop.test", "cart", "red", ""])
patterns = st.one_of(
    st.builds(lambda v, i: StringMatcher(exact=v, ignore_case=i), texts, st.booleans()),
    st.builds(lambda v: StringMatcher(prefix=v), texts.filter(bool)),
    st.builds(lambda v: StringMatcher(suffix=v), texts.filter(bool)),
    st.builds(lambda v: StringMatcher(contains=v), texts.filter(bool)),
    st.builds(
        lambda v: StringMatcher(safe_regex=RegexMatcher(regex=v)),
        st.sampled_from([".+", ".*/ns/shop/.*", "/a/.*", "[a-z]*", ".*test"]),
    ),
)
identities = st.one_of(
    st.builds(lambda v: StringMatcher(exact=SPIFFE + v), st.sampled_from(IDENTITIES)),
    patterns,
)
ranges = st.builds(
    lambda address, length: CidrRange(address_prefix=address, prefix_len=UInt32Value(value=length)),
    st.sampled_from([*SOURCES, *ADDRESSES, "203.0.113.5", "198.51.100.7"]),
    st.sampled_from([0, 8, 16, 24, 31, 32]),
)


@st.composite
def headers(draw: st.DrawFn) -> HeaderMatcher:
    made = HeaderMatcher(
        name=draw(st.sampled_from(["x-role", "X-Other", ":method", ":authority", "x-none"])),
        invert_match=draw(st.booleans()),
    )
    if draw(st.booleans()):
        made.present_match = draw(st.booleans())
    else:
        made.string_match.CopyFrom(draw(patterns))
        made.treat_missing_header_as_empty = draw(st.booleans())
    return made


@st.composite
def metadata(draw: st.DrawFn) -> SourcedMetadata:
    text = ValueMatcher(string_match=draw(patterns))
    item = ValueMatcher(list_match=ListMatcher(one_of=text))
    value = draw(
        st.sampled_from(
            [
                text,
                item,
                ValueMatcher(or_match=OrMatcher(value_matchers=[item, text])),
                ValueMatcher(present_match=draw(st.booleans())),
            ]
        )
    )
    made = MetadataMatcher(filter="envoy.filters.test.set", value=value, invert=draw(st.booleans()))
    made.path.add(key=draw(st.sampled_from(["colour", "none"])))
    return SourcedMetadata(metadata_matcher=made)


def template(text: str) -> Permission:
    config = UriTemplateMatchConfig(path_template=text)
    return Permission(uri_template=typed_extension("uri-template", config))


ports = st.sampled_from([*HTTP_PORTS, *TCP_PORTS])
templates = st.sampled_from(["/a/*", "/*", "/**", "/a/**", "/files/*/y/**", "/*/b", "/a/*/c"])
permissions_of_connections = st.one_of(
    st.just(Permission(any=True)),
    st.builds(lambda v: Permission(destination_ip=v), ranges),
    st.builds(lambda v: Permission(destination_port=v), ports),
    st.builds(lambda v: Permission(destination_port_range=Int32Range(start=v, end=v + 2)), ports),
    st.builds(lambda v: Permission(requested_server_name=v), patterns),
    st.builds(
        lambda v: Permission(requested_server_name=StringMatcher(exact=v)),
        st.sampled_from(SERVER_NAMES),
    ),
    st.builds(lambda v: Permission(sourced_metadata=v), metadata()),
)
permissions_of_requests = st.one_of(
    permissions_of_connections,
    st.builds(lambda v: Permission(header=v), headers()),
    st.builds(lambda v: Permission(url_path=PathMatcher(path=v)), patterns),
    st.builds(template, templates),
)
principals_of_connections = st.one_of(
    st.just(Principal(any=True)),
    st.just(Principal(authenticated=Principal.Authenticated())),
    st.builds(
        lambda v: Principal(authenticated=Principal.Authenticated(principal_name=v)), identities
    ),
    st.builds(lambda v: Principal(direct_remote_ip=v), ranges),
    st.builds(lambda v: Principal(remote_ip=v), ranges),
    st.builds(lambda v: Principal(sourced_metadata=v), metadata()),
)
principals_of_requests = st.one_of(
    principals_of_connections,
    st.builds(lambda v: Principal(header=v), headers()),
    st.builds(lambda v: Principal(url_path=PathMatcher(path=v)), patterns),
)


def combined(
    single: st.SearchStrategy[T],
    negated: Callable[[T], T],
    every: Callable[[list[T]], T],
    some: Callable[[list[T]], T],
) -> st.SearchStrategy[T]:
    """Conditions and their combinations."""
    return st.recursive(
        single,
        lambda inner: st.one_of(
            st.builds(negated, inner),
            st.builds(every, st.lists(inner, min_size=1, max_size=3)),
            st.builds(some, st.lists(inner, min_size=1, max_size=3)),
        ),
        max_leaves=4,
    )


def policies(*, http: bool) -> st.SearchStrategy[Policy]:
    permissions = combined(
        permissions_of_requests if http else permissions_of_connections,
        lambda v: Permission(not_rule=v),
        lambda v: Permission(and_rules=Permission.Set(rules=v)),
        lambda v: Permission(or_rules=Permission.Set(rules=v)),
    )
    principals = combined(
        principals_of_requests if http else principals_of_connections,
        lambda v: Principal(not_id=v),
        lambda v: Principal(and_ids=Principal.Set(ids=v)),
        lambda v: Principal(or_ids=Principal.Set(ids=v)),
    )
    return st.builds(
        lambda what, who: Policy(permissions=what, principals=who),
        st.lists(permissions, min_size=1, max_size=2),
        st.lists(principals, min_size=1, max_size=2),
    )


@dataclass(frozen=True)
class Guard:
    """Rules of requests and rules of connections."""

    http: RBAC
    network: RBAC


@st.composite
def rules(draw: st.DrawFn, *, http: bool) -> RBAC:
    made = RBAC(action=draw(st.sampled_from([RBAC.ALLOW, RBAC.DENY])))
    for name in draw(st.lists(st.sampled_from("cabZ"), unique=True, max_size=3)):
        made.policies[name].CopyFrom(draw(policies(http=http)))
    return made


def drawn_guards() -> Sequence[Guard]:
    """The same ones every time."""
    found: list[Guard] = []

    @hypothesis.seed(0)
    @settings(
        max_examples=GUARDS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.builds(Guard, rules(http=True), rules(http=False)))
    def collect(guard: Guard) -> None:
        found.append(guard)

    collect()
    return found


def guarded(listener: Listener, guard: Guard) -> Listener:
    """The listener with rules right before the last filter of each chain."""
    for chain in listener.filter_chains:
        last = chain.filters.pop()
        manager = HttpConnectionManager()
        if last.typed_config.Unpack(manager):
            router = manager.http_filters.pop()
            config = packed(HttpRbac(rules=guard.http))
            manager.http_filters.add(name="rbac", typed_config=config)
            manager.http_filters.append(router)
            last.typed_config.CopyFrom(packed(manager))
        else:
            config = packed(NetworkRbac(rules=guard.network, stat_prefix="tcp."))
            chain.filters.add(name="rbac", typed_config=config)
        chain.filters.append(last)
    return listener


@pytest.mark.timeout(900)
async def test_rules_say_what_is_foretold(tmp_path: Path) -> None:
    drawn = drawn_guards()
    made = {
        f"set-{number}": guarded(observed(inbound(PLAIN), f"set-{number}"), guard)
        for number, guard in enumerate(drawn)
    }
    outcomes = set()
    async with running(tmp_path, made, IDENTITIES) as (_, clients):
        for number, guard in enumerate(drawn):
            for call in calls(PLACE, chance_of(str(number)), REQUESTS, STREAMS):
                found = await clients.decision(f"set-{number}", call)
                assert (found.allowed, found.rule) == foretold(guard, call), f"{call}\n{guard}"
                outcomes.add((call.http, found.allowed))
    assert len(outcomes) == 4


def foretold(guard: Guard, call: Call) -> tuple[bool, str]:
    """Whether a call is allowed, and the rule that Envoy names when it refuses a request."""
    said = ruling(guard.http if call.http else guard.network, arrival(call))
    named = "" if said.allowed or not call.http else said.decided or "none"
    return said.allowed, named


async def test_a_running_proxy_names_its_policies(tmp_path: Path) -> None:
    case = cases(3, 1, http=0, tcp=0)[0]
    policies = [each for each in case.policies if applies(each, case.place)]
    assert policies
    async with running(tmp_path, {"virtualInbound": inbound(case)}, ()) as (envoy, _):
        admin = envoy.admin.removeprefix("http://")
        arguments = ["authz", "check", "--admin", admin, "-o", "json"]
        ended = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert ended.exit_code == 0, ended.output
    found = {(each["action"], each["policy"]) for each in json.loads(ended.stdout)}
    for each in policies:
        meta, action = each["metadata"], each["spec"]["action"]
        told = f"{action} (dry run)" if "annotations" in meta else action
        assert (told, f"{meta['name']}.{meta['namespace']}") in found
