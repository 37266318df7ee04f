"""One proxied ADS stream: what passes through, what the agent asks and answers itself (B4)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import wire
from mast.agent.core.modules import ECDS
from mastapi.trust.v1.trust_pb2 import TrustBundle

PREFIX: Final = "type.googleapis.com/"
LDS: Final = f"{PREFIX}envoy.config.listener.v3.Listener"
NDS: Final = f"{PREFIX}istio.networking.nds.v1.NameTable"
PCDS: Final = f"{PREFIX}istio.mesh.v1alpha1.ProxyConfig"
TBDS: Final = f"{PREFIX}mastapi.trust.v1.TrustBundle"
HEALTH: Final = f"{PREFIX}istio.v1.HealthInformation"

PROXYLESS: Final = "grpc"
"""What the node of a gRPC library has as metadata ``GENERATOR`` (pilot.md B29)."""

_INTERNAL: Final = 13
_SOTW_TYPE_URL: Final = DiscoveryRequest.TYPE_URL_FIELD_NUMBER
_DELTA_TYPE_URL: Final = DeltaDiscoveryRequest.TYPE_URL_FIELD_NUMBER
_RESPONSE_TYPE_URL: Final = DiscoveryResponse.TYPE_URL_FIELD_NUMBER

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Health:
    """What the readiness probe of the workload last said; empty detail means healthy."""

    detail: str = ""


@dataclass(frozen=True)
class Consumed:
    """A response that was for the agent: its content, and the request that answers it.

    ``error`` is set, and all contents None, if it was rejected. Trust bundles, by domain, are all
    that there are; ``refusal`` is the answer if they cannot be used.
    """

    type_url: str
    reply: bytes
    names: NameTable | None = None
    proxy_config: ProxyConfig | None = None
    bundles: Mapping[str, TrustBundle] | None = None
    refusal: Callable[[str], bytes] | None = None
    error: str = ""


@dataclass(slots=True)
class AdsSession:
    """The agent's own part of one stream, in the variant that Envoy chose.

    ``delta`` is the variant, ``wants`` the types that the agent subscribes for itself.
    """

    delta: bool
    wants: frozenset[str]
    subscribed: bool = False
    without_proxy: bool | None = None
    """The client is a gRPC library and no Envoy; None before it introduced itself."""
    bundles: dict[str, TrustBundle] = field(default_factory=dict)
    """Trust bundles by domain, as far as this stream has told them."""
    extensions: tuple[str, ...] = ()
    """Names of ECDS that Envoy last asked for, where requests list all of them."""

    def envoy_sent(self, data: bytes, health: Health | None) -> list[bytes]:
        """The agent's requests that follow a request of Envoy: after the first one for LDS.

        By then Envoy has introduced itself, so the agent's own requests need no node.
        """
        number = _DELTA_TYPE_URL if self.delta else _SOTW_TYPE_URL
        type_url = wire.peek(data, number).get(number)
        if self.without_proxy is None:
            self.without_proxy = _generator(data, delta=self.delta) == PROXYLESS
        if type_url == ECDS.encode() and not self.delta:
            self.extensions = tuple(DiscoveryRequest.FromString(data).resource_names)
        if self.subscribed or type_url != LDS.encode():
            return []
        self.subscribed = True
        requests = [self._request(type_url) for type_url in sorted(self.wants)]
        return requests if health is None else [*requests, self.health_report(health)]

    def health_report(self, health: Health) -> bytes:
        """The request that tells the workload's health (pilot.md B26)."""
        return self._request(HEALTH, error=health.detail)

    def brings_extensions(self, data: bytes) -> bool:
        """Whether a response is about extensions, which may need modules."""
        found = wire.peek(data, _RESPONSE_TYPE_URL).get(_RESPONSE_TYPE_URL, b"")
        return found == ECDS.encode()

    def rejection(self, data: bytes, error: str) -> bytes:
        """The request that rejects a response for Envoy, which never sees it."""
        detail = Status(code=_INTERNAL, message=error)
        if self.delta:
            response = DeltaDiscoveryResponse.FromString(data)
            return DeltaDiscoveryRequest(
                type_url=ECDS, response_nonce=response.nonce, error_detail=detail
            ).SerializeToString()
        nonce = DiscoveryResponse.FromString(data).nonce
        return DiscoveryRequest(
            type_url=ECDS,
            response_nonce=nonce,
            resource_names=self.extensions,
            error_detail=detail,
        ).SerializeToString()

    def upstream_sent(self, data: bytes) -> Consumed | None:
        """What the agent makes of a response; None if it is Envoy's and passes unchanged."""
        found = wire.peek(data, _RESPONSE_TYPE_URL).get(_RESPONSE_TYPE_URL, b"")
        type_url = found.decode(errors="replace")
        if type_url not in {NDS, PCDS, TBDS}:
            return None
        return self._consume(type_url, data)

    def _consume(self, type_url: str, data: bytes) -> Consumed:
        nonce = version = ""
        try:
            resources: list[Any]
            removed: list[str]
            if self.delta:
                delta = DeltaDiscoveryResponse.FromString(data)
                nonce, version = delta.nonce, delta.system_version_info
                resources = [each.resource for each in delta.resources]
                removed = list(delta.removed_resources)
            else:
                sotw = DiscoveryResponse.FromString(data)
                nonce, version = sotw.nonce, sotw.version_info
                resources, removed = list(sotw.resources), list(self.bundles)
            reply = self._request(type_url, nonce=nonce, version=version)
            if type_url == TBDS:
                return self._consume_bundles(resources, removed, reply, nonce)
            if type_url == NDS:
                table = _last(resources, NameTable) or NameTable()
                return Consumed(type_url, reply, names=table)
            config = _last(resources, ProxyConfig) or ProxyConfig()
            return Consumed(type_url, reply, proxy_config=config)
        except DecodeError as problem:
            error = f"{type_url.removeprefix(PREFIX)}: {problem}"
            return Consumed(
                type_url, self._request(type_url, nonce=nonce, error=error), error=error
            )

    def _consume_bundles(
        self, resources: Iterable[Any], removed: Iterable[str], reply: bytes, nonce: str
    ) -> Consumed:
        """All bundles there are now: a change comes alone, where requests name nothing (delta)."""
        gone = set(removed)
        known = {name: bundle for name, bundle in self.bundles.items() if name not in gone}
        for each in resources:
            bundle = TrustBundle()
            if not each.Unpack(bundle):
                raise DecodeError(f"resource has the type {each.type_url!r}")
            known[bundle.trust_domain] = bundle
        self.bundles = known

        def refusal(error: str) -> bytes:
            return self._request(TBDS, nonce=nonce, error=error)

        return Consumed(TBDS, reply, bundles=known, refusal=refusal)

    def _request(
        self, type_url: str, *, nonce: str = "", version: str = "", error: str = ""
    ) -> bytes:
        detail = Status(code=_INTERNAL, message=error) if error else None
        if self.delta:
            return DeltaDiscoveryRequest(
                type_url=type_url, response_nonce=nonce, error_detail=detail
            ).SerializeToString()
        return DiscoveryRequest(
            type_url=type_url, version_info=version, response_nonce=nonce, error_detail=detail
        ).SerializeToString()


def _generator(data: bytes, *, delta: bool) -> str:
    """Whom the node of a first request says that it wants configuration for; empty for an Envoy."""
    kind = DeltaDiscoveryRequest if delta else DiscoveryRequest
    try:
        metadata = kind.FromString(data).node.metadata
    except DecodeError as error:
        raise ValueError(f"first request: {error}") from error
    return metadata.fields["GENERATOR"].string_value


def _last(resources: Iterable[Any], kind: type[M]) -> M | None:
    """The last resource, decoded. Raises DecodeError for another type than ``kind``."""
    message: M | None = None
    for each in resources:
        message = kind()
        if not each.Unpack(message):
            raise DecodeError(f"resource has the type {each.type_url!r}")
    return message
