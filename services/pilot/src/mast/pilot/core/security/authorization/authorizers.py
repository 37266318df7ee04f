"""External authorizers of policies with action CUSTOM (pilot.md J6; Istio extensionProviders).

A shadow RBAC filter finds out whether a policy is about a request, and tells by metadata; the
authorizer is asked only then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    AuthorizationRequest,
    AuthorizationResponse,
    BufferSettings,
    ExtAuthz,
    HttpService,
)
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as TcpExtAuthz
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from google.protobuf.duration_pb2 import Duration

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core import names
from mast.pilot.core.format_strings import format_string
from mast.pilot.core.model.model import Port, Service
from mast.pilot.core.scope.provider_services import provider_service
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.rbac import HTTP_RBAC, NETWORK_RBAC, STAT_PREFIX
from mast.pilot.core.security.authorization.values import Unusable, string_matcher

SHADOW_PREFIX: Final = "istio_ext_authz_"
DEFAULT_TIMEOUT: Final = timedelta(seconds=600)

_MATCHED: Final = f"{SHADOW_PREFIX}shadow_effective_policy_id"

Provider = MeshConfig.ExtensionProvider
HttpProvider = Provider.EnvoyExternalAuthorizationHttpProvider
GrpcProvider = Provider.EnvoyExternalAuthorizationGrpcProvider


@dataclass(frozen=True, kw_only=True, eq=False)
class Authorizer:
    """How to ask one authorizer; of connections only those that speak gRPC can be asked."""

    http: ExtAuthz
    network: TcpExtAuthz | None
    service: Service
    port: Port


def policy_prefix(provider: str) -> str:
    """What the names of RBAC policies begin with that an authorizer is asked for."""
    return f"istio-ext-authz-{provider}-"


def authorizer(scope: Scope, name: str) -> Authorizer:
    """The authorizer of that name; raises `Unusable` if there is none that can be asked."""
    found = next(
        (each for each in scope.mesh.config.extension_providers if each.name == name), None
    )
    if found is None:
        raise Unusable("MeshConfig has no such provider")
    if found.HasField("envoy_ext_authz_http"):
        return _over_http(scope, name, found.envoy_ext_authz_http)
    if found.HasField("envoy_ext_authz_grpc"):
        return _over_grpc(scope, name, found.envoy_ext_authz_grpc)
    raise Unusable("it is no external authorizer")


def _over_http(scope: Scope, name: str, provider: HttpProvider) -> Authorizer:
    service, port = _service(scope, provider)
    asked = [*provider.include_request_headers_in_check, *provider.include_headers_in_check]
    answer = AuthorizationResponse(
        allowed_upstream_headers=_headers(provider.headers_to_upstream_on_allow),
        allowed_client_headers=_headers(provider.headers_to_downstream_on_deny),
        allowed_client_headers_on_success=_headers(provider.headers_to_downstream_on_allow),
    )
    http = _common(name, provider)
    http.http_service.CopyFrom(
        HttpService(
            server_uri=HttpUri(
                uri=f"http://{service.host}",
                cluster=_cluster(service, port),
                timeout=_timeout(provider),
            ),
            path_prefix=provider.path_prefix,
            authorization_request=AuthorizationRequest(headers_to_add=_fixed(provider)),
            authorization_response=answer,
        )
    )
    if (sent := _headers(asked)) is not None:
        http.allowed_headers.CopyFrom(sent)
    return Authorizer(http=http, network=None, service=service, port=port)


def _over_grpc(scope: Scope, name: str, provider: GrpcProvider) -> Authorizer:
    service, port = _service(scope, provider)
    target = GrpcService.EnvoyGrpc(cluster_name=_cluster(service, port), authority=service.host)
    call = GrpcService(envoy_grpc=target, timeout=_timeout(provider))
    http = _common(name, provider)
    http.grpc_service.CopyFrom(call)
    network = TcpExtAuthz(
        stat_prefix=STAT_PREFIX,
        grpc_service=call,
        failure_mode_allow=provider.fail_open,
        transport_api_version=ApiVersion.V3,
        filter_enabled_metadata=_matched(NETWORK_RBAC, name),
    )
    return Authorizer(http=http, network=network, service=service, port=port)


def _common(name: str, provider: Any) -> ExtAuthz:
    """What providers of both kinds have."""
    result = ExtAuthz(
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=provider.fail_open,
        clear_route_cache=provider.clear_route_cache,
        filter_enabled_metadata=_matched(HTTP_RBAC, name),
    )
    if provider.status_on_error:
        result.status_on_error.CopyFrom(HttpStatus(code=_status(provider.status_on_error)))
    if provider.HasField("include_request_body_in_check"):
        body = provider.include_request_body_in_check
        if not body.max_request_bytes:
            raise Unusable("includeRequestBodyInCheck has no maxRequestBytes")
        result.with_request_body.CopyFrom(
            BufferSettings(
                max_request_bytes=body.max_request_bytes,
                allow_partial_message=body.allow_partial_message,
                pack_as_bytes=body.pack_as_bytes,
            )
        )
    return result


def _service(scope: Scope, provider: Any) -> tuple[Service, Port]:
    service = provider_service(scope, provider.service)
    port = service.port(provider.port) if service else None
    if service is None or port is None:
        raise Unusable(f"no service {provider.service} with a port {provider.port} is visible")
    return service, port


def _cluster(service: Service, port: Port) -> str:
    return names.outbound_cluster(port.number, "", service.host)


def _timeout(provider: Any) -> Duration:
    """The time for an answer; Istio's default is so long that the proxy's own do not count."""
    result = Duration()
    result.FromTimedelta(DEFAULT_TIMEOUT)
    return provider.timeout if provider.HasField("timeout") else result


def _status(text: str) -> StatusCode.ValueType:
    code = int(text) if text.isascii() and text.isdecimal() else 0
    if not code or code not in StatusCode.values():
        raise Unusable(f"statusOnError {text!r} is no HTTP status")
    return StatusCode.ValueType(code)


def _headers(patterns: Sequence[str]) -> ListStringMatcher | None:
    """Names of headers in any case; an empty list would be refused."""
    matchers = [string_matcher(each, ignore_case=True) for each in patterns]
    return ListStringMatcher(patterns=matchers) if matchers else None


def _fixed(provider: HttpProvider) -> Sequence[HeaderValue]:
    """Headers whose values may have commands between percent signs, as those of routes."""
    added = sorted(provider.include_additional_headers_in_check.items())
    return [HeaderValue(key=key, value=format_string(value)) for key, value in added]


def _matched(filter_name: str, provider: str) -> MetadataMatcher:
    """The shadow rules of a provider have matched."""
    return MetadataMatcher(
        filter=filter_name,
        path=[MetadataMatcher.PathSegment(key=_MATCHED)],
        value=ValueMatcher(string_match=StringMatcher(prefix=policy_prefix(provider))),
    )
