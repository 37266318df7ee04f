"""Attributes of what Envoy asks about, from its ext_authz requests (mixer_proxy.md C.5, K)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from envoy.config.core.v3.address_pb2 import Address
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from istio.mixer.v1.attributes_pb2 import Attributes as PlainAttributes
from mast.mixer.core.envoy_metadata import put_authentication
from mast.mixer.core.values import NANOS, Timestamp, Value
from mast.mixer.core.workloads import UID_PREFIX, Pod, packed_ip

INBOUND, OUTBOUND = "inbound", "outbound"

MARKS = "istio.mixer"
"""Metadata of the check cache, and of routes the service."""

PEER_HEADER = "x-mast-peer"
OLD_PEER_HEADER = "x-istio-attributes"

_SPIFFE = "spiffe://"
_GRPC = frozenset({"application/grpc", "application/grpc+proto", "application/grpc+json"})
_UNSET = f"{UID_PREFIX}-.-"


class Registry(Protocol):
    """The workloads of the mesh."""

    @property
    def generation(self) -> int:
        """Grows with every change."""

    def find(self, uid: str, address: bytes | None) -> Pod | None:
        """The workload of a uid, or if that is empty, of an address; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """The proxy that asks or reports; unknown parts are empty.

    ``kind`` is the direction of the listener, ``uid`` what the proxy says of itself.
    """

    kind: str
    uid: str = ""
    version: str = ""
    address: bytes = b""
    mesh: str = ""

    def known(self, registry: Registry, address: bytes) -> str:
        """The uid in the form of the registry, whose names of a workload may differ."""
        address = self.address or address
        pod = registry.find(self.uid, b"") or registry.find("", address)
        if pod is not None:
            return pod.uid
        return "" if self.uid in {"", _UNSET} else self.uid


def check_attributes(
    request: CheckRequest, reporter: Reporter, registry: Registry, now: datetime
) -> dict[str, Value]:
    """The attributes of one request or connection (K, column ext_authz)."""
    context = request.attributes
    found: dict[str, Value] = {}
    _put_connection(found, context)
    if context.request.HasField("http"):
        headers = dict(context.request.http.headers)
        forwarded = (headers.pop(PEER_HEADER, ""), headers.pop(OLD_PEER_HEADER, ""))
        _put_request(found, context, headers)
        put_authentication(found, context.metadata_context.filter_metadata)
        found.update(service_attributes(context.route_metadata_context.filter_metadata))
    else:
        forwarded = ("", "")
        found["context.protocol"] = "tcp"
        found["context.time"] = Timestamp.of(now)
        found["source.ip"] = _ip(context.source.address)
    _put_sides(found, context, reporter, registry, forwarded)
    return {name: value for name, value in found.items() if value not in (b"", None)}


def _put_connection(found: dict[str, Value], context: AttributeContext) -> None:
    found["origin.ip"] = _ip(context.source.address)
    found["connection.mtls"] = bool(context.source.principal)
    if context.tls_session.sni:
        found["connection.requested_server_name"] = context.tls_session.sni
    put_principals(found, context.source.principal, context.destination.principal)


def put_principals(found: dict[str, Value], peer: str, own: str) -> None:
    """Both identities without the scheme; what is no SPIFFE ID is none (C16)."""
    if peer.startswith(_SPIFFE):
        identity = peer.removeprefix(_SPIFFE)
        found["source.user"] = found["source.principal"] = identity
        parts = identity.split("/")
        if len(parts) == 5 and parts[1] == "ns":
            found["source.namespace"] = parts[2]
    if own.startswith(_SPIFFE):
        found["destination.principal"] = own.removeprefix(_SPIFFE)


def _put_request(
    found: dict[str, Value], context: AttributeContext, headers: dict[str, str]
) -> None:
    http = context.request.http
    found["request.headers"] = headers
    found["request.host"] = http.host
    found["request.method"] = http.method
    found["request.scheme"] = http.scheme or "http"
    put_path(found, http.path)
    for attribute, header in _FROM_HEADERS:
        if header in headers:
            found[attribute] = headers[header]
    if headers.get("content-length", "").isdecimal():
        found["request.size"] = int(headers["content-length"])
    found["context.protocol"] = protocol(headers.get("content-type", ""))
    time = context.request.time
    found["request.time"] = Timestamp(time.seconds * NANOS + time.nanos)


_FROM_HEADERS = (
    ("request.useragent", "user-agent"),
    ("request.referer", "referer"),
    ("request.id", "x-request-id"),
)


def put_path(found: dict[str, Value], path: str) -> None:
    """Path, its part before the query, and the query's parameters, the first of each name."""
    found["request.path"] = path
    found["request.url_path"], _, query = path.partition("?")
    if query:
        parameters: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters.setdefault(name, value)
        found["request.query_params"] = parameters


def protocol(content_type: str) -> str:
    """``grpc`` or ``http`` (C.5)."""
    return "grpc" if content_type in _GRPC else "http"


def service_attributes(metadata: Mapping[str, Struct]) -> dict[str, Value]:
    """The destination service, which the metadata of a route holds by attribute name."""
    if MARKS not in metadata:
        return {}
    fields = metadata[MARKS].fields
    return {name: value.string_value for name, value in fields.items() if value.string_value}


def _put_sides(
    found: dict[str, Value],
    context: AttributeContext,
    reporter: Reporter,
    registry: Registry,
    forwarded: tuple[str, str],
) -> None:
    """Who calls and who is called, as far as this side of the connection knows (C.5, static)."""
    if reporter.kind == OUTBOUND:
        put_own(found, reporter, reporter.known(registry, _ip(context.source.address)), "source")
        return
    address = context.destination.address
    put_own(found, reporter, reporter.known(registry, _ip(address)), "destination")
    found["destination.ip"] = reporter.address or _ip(address)
    if address.HasField("socket_address"):
        found["destination.port"] = address.socket_address.port_value
    put_source(found, _ip(context.source.address), forwarded, registry)


def put_own(found: dict[str, Value], reporter: Reporter, uid: str, side: str) -> None:
    """The side that the reporter stands on, and the reporter itself."""
    found["context.reporter.kind"] = reporter.kind
    if uid:
        found["context.reporter.uid"] = found[f"{side}.uid"] = uid
        found[f"{side}.namespace"] = uid.rpartition(".")[2]
    if reporter.version:
        found["context.proxy_version"] = reporter.version
    if reporter.mesh and side == "destination":
        found["destination.mesh.id"] = reporter.mesh


def put_source(
    found: dict[str, Value], address: bytes, forwarded: tuple[str, str], registry: Registry
) -> None:
    """The caller: of its address, else what it says of itself, else the bare address (K7).

    What it says must agree with its certificate. Differs from Istio, which believes the header
    first: a workload cannot borrow the address of another one.
    """
    pod = registry.find("", address)
    uid = pod.uid if pod is not None else _forwarded_uid(found, forwarded, registry)
    if uid:
        found["source.uid"] = uid
        found.setdefault("source.namespace", uid.rpartition(".")[2])
    elif address:
        found["source.ip"] = address


def _forwarded_uid(found: dict[str, Value], forwarded: tuple[str, str], registry: Registry) -> str:
    ours, old = forwarded
    uid, _, address = ours.partition(",")
    if not ours and old:
        uid, address = _uid_of_message(old), ""
    pod = registry.find(uid, b"") or registry.find("", packed_ip(address))
    if pod is not None:
        uid = pod.uid
    if not uid.startswith(UID_PREFIX) or uid == _UNSET:
        return ""
    namespace = found.get("source.namespace")
    return uid if namespace in (None, uid.rpartition(".")[2]) else ""


def _uid_of_message(header: str) -> str:
    """``source.uid`` of the message that proxies of Istio 1.x forward; empty if there is none."""
    try:
        message = PlainAttributes.FromString(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return ""
    value: Any = message.attributes.get("source.uid")
    return value.string_value if value is not None else ""


def _ip(address: Address) -> bytes:
    return packed_ip(address.socket_address.address)
