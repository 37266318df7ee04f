"""Patches of users in the bootstrap: asked for, merged, judged (pilot.md B, K1, K3)."""

from __future__ import annotations

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from mast.agent.core.bootstrap_patches import BOOTSTRAP, patch_in, patched, refusal, request


def answer(*messages: Message) -> bytes:
    response = DeltaDiscoveryResponse(type_url=BOOTSTRAP)
    for each in messages:
        response.resources.add().resource.Pack(each)
    return response.SerializeToString()


def test_the_request_introduces_the_proxy() -> None:
    made = DeltaDiscoveryRequest.FromString(request(Node(id="a")))
    assert (made.node.id, made.type_url) == ("a", BOOTSTRAP)


def test_no_patches() -> None:
    assert patch_in(answer()) is None


def test_patches_are_united_in_order() -> None:
    one, two = Bootstrap(flags_path="a", header_prefix="x"), Bootstrap(flags_path="b")
    assert patch_in(answer(one, two)) == Bootstrap(flags_path="b", header_prefix="x")


@pytest.mark.parametrize(
    "data",
    [pytest.param(b"\xff", id="no-response"), pytest.param(answer(Node()), id="no-bootstrap")],
)
def test_other_answers_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="bootstrap patches"):
        patch_in(data)


def test_who_the_proxy_is_stays() -> None:
    own = Bootstrap(node=Node(id="a"), flags_path="old")
    own.stats_config.stats_tags.add(tag_name="one")
    own.dynamic_resources.ads_config.set_node_on_first_message_only = True
    patch = Bootstrap(node=Node(id="b", cluster="c"), flags_path="new")
    patch.stats_config.stats_tags.add(tag_name="two")
    patch.dynamic_resources.ads_config.grpc_services.add()
    made = patched(own, patch)
    assert made.node == own.node
    assert made.dynamic_resources == own.dynamic_resources
    assert made.flags_path == "new"
    assert [each.tag_name for each in made.stats_config.stats_tags] == ["one", "two"]
    assert own.flags_path == "old"


def test_refusal() -> None:
    assert refusal(Bootstrap()) == ""
    assert "stats_flush_interval" in refusal(Bootstrap(stats_flush_interval=Duration(seconds=900)))
    unknown = Bootstrap()
    unknown.stats_sinks.add(name="x").typed_config.type_url = "type.googleapis.com/nobody.Knows"
    assert "nobody.Knows" in refusal(unknown)
