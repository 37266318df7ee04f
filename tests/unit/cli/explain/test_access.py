"""Guards one after the other: what they leave for each other, whom they ask, where they stop."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from mast.cli.explain.access import HTTP_RBAC, NETWORK_RBAC, Author, guarded
from mast.cli.explain.causes import Causes
from mast.cli.explain.rbac import Arrival
from mast.cli.explain.story import Story
from mast.cli.explain.traffic import Connection, Request
from mast.pilot.core.packing import packed
from tests.support.mesh_yaml import world

CONNECTION = Connection(address="10.0.0.1", port=80, source_address="192.0.2.1")
BYTES = Arrival(CONNECTION)
REQUEST = Arrival(CONNECTION, Request(authority="a", path="/a", claims={"iss": "us"}))
AUTHOR = Author(Causes(world().snapshot(1).index), "shop")


def rules(action: RBAC.Action.ValueType, *names: str, path: str = "") -> RBAC:
    asked = Permission(any=True)
    if path:
        asked = ParseDict({"urlPath": {"path": {"exact": path}}}, Permission())
    policy = Policy(permissions=[asked], principals=[Principal(any=True)])
    return RBAC(action=action, policies=dict.fromkeys(names, policy))


def wants(filter_name: str, prefix: str) -> MetadataMatcher:
    path = [{"key": "istio_ext_authz_shadow_effective_policy_id"}]
    value = {"stringMatch": {"prefix": prefix}}
    return ParseDict({"filter": filter_name, "path": path, "value": value}, MetadataMatcher())


def met(arrival: Arrival, *configs: Message) -> tuple[Arrival | None, Story]:
    filters: Sequence[Filter] = [Filter(name="any", typed_config=packed(each)) for each in configs]
    story = Story()
    return guarded(filters, arrival, AUTHOR, story), story


def told(story: Story) -> list[str]:
    return [f"{each.what}: {each.result}" for each in story.steps]


def test_the_first_that_refuses_is_the_last() -> None:
    passed, story = met(
        REQUEST,
        HttpRbac(rules=rules(RBAC.LOG, "one")),
        HttpRbac(rules=rules(RBAC.DENY, "two")),
        HttpRbac(rules=rules(RBAC.ALLOW)),
    )
    assert passed is None
    assert story.status == 403
    assert told(story) == [
        "access: AUDIT: passes: one matches",
        "access: DENY: refused with 403: two matches",
    ]


def test_other_filters_are_no_guards() -> None:
    passed, story = met(REQUEST, Router())
    assert passed == REQUEST
    assert told(story) == []


def test_rules_that_are_tried_refuse_nothing() -> None:
    passed, story = met(REQUEST, HttpRbac(shadow_rules=rules(RBAC.DENY, "one")))
    assert passed is not None
    assert told(story) == ["access: DENY (dry run): would be refused with 403: one matches"]
    left = {"shadow_engine_result": "denied", "shadow_effective_policy_id": "one"}
    assert passed.left == {HTTP_RBAC: left}


def test_who_is_asked_about_requests() -> None:
    found = HttpRbac(
        shadow_rules=rules(RBAC.DENY, "mine", path="/a"),
        shadow_rules_stat_prefix="istio_ext_authz_",
    )
    by_http = ExtAuthz(filter_enabled_metadata=wants(HTTP_RBAC, "mine"))
    by_http.http_service.server_uri.cluster = "web"
    by_grpc = ExtAuthz(filter_enabled_metadata=wants(HTTP_RBAC, "other"))
    by_grpc.grpc_service.envoy_grpc.cluster_name = "not asked"
    always = ExtAuthz()
    mixer = ExtAuthz(filter_enabled_metadata=wants("istio.mixer", "mine"))
    passed, story = met(REQUEST, found, by_http, by_grpc, always, mixer)
    assert passed is not None
    assert story.authorizers == ["web"]
    assert told(story) == [
        "access: CUSTOM: mine matches",
        "authorizer: web is asked, and may refuse",
    ]


def test_who_is_asked_about_connections() -> None:
    found = NetworkRbac(
        shadow_rules=rules(RBAC.DENY, "mine"), shadow_rules_stat_prefix="istio_ext_authz_"
    )
    asked = NetworkExtAuthz(filter_enabled_metadata=wants(NETWORK_RBAC, "mine"))
    asked.grpc_service.envoy_grpc.cluster_name = "grpc"
    passed, story = met(BYTES, found, asked)
    assert passed is not None
    assert story.authorizers == ["grpc"]


def test_triggers_tell_whose_tokens_count() -> None:
    """What only filters behind ask for is followed, not told (pilot.md J8)."""
    found = HttpRbac(
        shadow_rules=rules(RBAC.ALLOW, "1", path="/a"), shadow_rules_stat_prefix="mast_triggers_"
    )
    tokens = ParseDict(
        {
            "providers": {"us": {"issuer": "them"}},
            "filterStateRules": {
                "name": "mast.triggers",
                "requires": {"1": {"providerName": "us"}},
            },
        },
        JwtAuthentication(),
    )
    passed, story = met(REQUEST, found, tokens)
    assert passed is None
    assert told(story) == ["token: refused with 401: the issuer is us, not them"]


def test_connections_have_no_tokens() -> None:
    config = {"rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "us"}}]}
    passed, story = met(BYTES, ParseDict(config, JwtAuthentication()))
    assert passed == BYTES
    assert told(story) == []
