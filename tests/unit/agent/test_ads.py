"""The agent's own part of a proxied ADS stream, in both variants (citadel-and-agent.md B4)."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
    Resource,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import ads
from mast.agent.core.ads import AdsSession, Health
from mast.agent.core.outbox import Outbox

CDS = f"{ads.PREFIX}envoy.config.cluster.v3.Cluster"
WANTS = frozenset({ads.NDS, ads.PCDS})
VARIANTS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


def request(delta: bool, type_url: str) -> bytes:
    kind = DeltaDiscoveryRequest if delta else DiscoveryRequest
    return kind(type_url=type_url).SerializeToString()


def parsed(delta: bool, data: bytes) -> DeltaDiscoveryRequest | DiscoveryRequest:
    return (DeltaDiscoveryRequest if delta else DiscoveryRequest).FromString(data)


def response(delta: bool, type_url: str, *messages: Message) -> bytes:
    bodies = []
    for each in messages:
        body = Any()
        body.Pack(each)
        bodies.append(body)
    if delta:
        resources = [Resource(name=str(n), resource=body) for n, body in enumerate(bodies)]
        return DeltaDiscoveryResponse(
            type_url=type_url, nonce="n1", system_version_info="v1", resources=resources
        ).SerializeToString()
    return DiscoveryResponse(
        type_url=type_url, nonce="n1", version_info="v1", resources=bodies
    ).SerializeToString()


@VARIANTS
def test_subscribes_after_the_first_lds_request(delta: bool) -> None:
    session = AdsSession(delta=delta, wants=WANTS)
    assert session.envoy_sent(request(delta, CDS), None) == []
    own = session.envoy_sent(request(delta, ads.LDS), Health("down"))
    found = [parsed(delta, data) for data in own]
    assert [each.type_url for each in found] == [ads.PCDS, ads.NDS, ads.HEALTH]
    assert not any(each.HasField("node") for each in found), "Envoy introduced itself"
    assert found[2].error_detail.message == "down"
    assert session.envoy_sent(request(delta, ads.LDS), None) == [], "once for a stream"


@VARIANTS
def test_health_is_told_only_if_known(delta: bool) -> None:
    session = AdsSession(delta=delta, wants=frozenset())
    assert session.envoy_sent(request(delta, ads.LDS), None) == []
    other = AdsSession(delta=delta, wants=frozenset())
    (report,) = other.envoy_sent(request(delta, ads.LDS), Health())
    assert not parsed(delta, report).HasField("error_detail")


@VARIANTS
def test_what_is_envoys_passes(delta: bool) -> None:
    session = AdsSession(delta=delta, wants=WANTS)
    assert session.upstream_sent(response(delta, CDS, StringValue(value="x"))) is None


@VARIANTS
def test_names_are_consumed_and_acknowledged(delta: bool) -> None:
    session = AdsSession(delta=delta, wants=WANTS)
    table = NameTable()
    table.table["a.example.com"].ips.append("10.0.0.1")
    consumed = session.upstream_sent(response(delta, ads.NDS, table))
    assert consumed is not None
    assert consumed.names == table
    reply = parsed(delta, consumed.reply)
    assert (reply.type_url, reply.response_nonce) == (ads.NDS, "n1")
    assert not reply.HasField("error_detail")
    if isinstance(reply, DiscoveryRequest):
        assert reply.version_info == "v1"


@VARIANTS
def test_an_empty_answer_is_an_empty_table(delta: bool) -> None:
    consumed = AdsSession(delta=delta, wants=WANTS).upstream_sent(response(delta, ads.NDS))
    assert consumed is not None
    assert consumed.names == NameTable()
    assert consumed.proxy_config is None


@VARIANTS
def test_proxy_config_is_consumed(delta: bool) -> None:
    config = ProxyConfig(ca_certificates_pem=["pem"])
    consumed = AdsSession(delta=delta, wants=WANTS).upstream_sent(response(delta, ads.PCDS, config))
    assert consumed is not None
    assert consumed.proxy_config == config
    assert consumed.names is None


@VARIANTS
def test_wrong_content_is_rejected(delta: bool) -> None:
    consumed = AdsSession(delta=delta, wants=WANTS).upstream_sent(
        response(delta, ads.NDS, StringValue(value="x"))
    )
    assert consumed is not None
    assert consumed.names is None
    reply = parsed(delta, consumed.reply)
    assert reply.error_detail.code == 13
    assert "StringValue" in reply.error_detail.message
    assert reply.response_nonce == "n1"
    if isinstance(reply, DiscoveryRequest):
        assert reply.version_info == "", "the last accepted version: none"


@VARIANTS
def test_no_message_at_all(delta: bool) -> None:
    session = AdsSession(delta=delta, wants=WANTS)
    with pytest.raises(ValueError, match="byte"):
        session.envoy_sent(b"\x0b", None)
    with pytest.raises(ValueError, match="byte"):
        session.upstream_sent(b"\x0b")


def test_outbox_keeps_order_and_bounds_envoy() -> None:
    outbox = Outbox(limit=2)
    outbox.add(b"cds")
    outbox.add_own("nds", b"nds-1")
    outbox.add(b"lds")
    assert outbox.full
    outbox.add_own("health", b"health-1")
    outbox.add_own("nds", b"nds-2")
    assert outbox.next() == b"cds"
    assert not outbox.full
    rest = [outbox.next() for _ in range(4)]
    assert rest == [b"nds-2", b"lds", b"health-1", None], "a newer one takes the older's place"
