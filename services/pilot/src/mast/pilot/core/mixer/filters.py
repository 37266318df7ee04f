"""Mixer on stock Envoy: checks and reports in listeners and routes (pilot.md L, mixer_proxy.md K).

Nothing here differs between the pods of a deployment, so that they share listeners: who a pod is
reaches Mixer by environment variables that Envoy reads itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, ExtAuthzPerRoute
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as TcpExtAuthz
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from google.protobuf.struct_pb2 import Struct

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.extensions import (
    NOTHING,
    Additions,
    Direction,
    Extensions,
    Spot,
)
from mast.pilot.core.filters.header_operations import HeaderMutations
from mast.pilot.core.mixer import access_logs, peers, replicas
from mast.pilot.core.mixer.calls import (
    MARKS,
    Annotations,
    Check,
    check_service,
    cluster_of,
    report_cluster,
)
from mast.pilot.core.mixer.logged_headers import LoggedHeaders, logged_headers
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope

EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"
TCP_EXT_AUTHZ: Final = "envoy.filters.network.ext_authz"

JWT_METADATA: Final = "envoy.filters.http.jwt_authn"
REPORT_INTERVAL: Final = timedelta(seconds=10)
"""Between two reports of a TCP connection that stays open (mixer_proxy.md C.5)."""


_SCRIPT: Final = ("lru.lua", "attributes.lua", "quotas.lua", "verdicts.lua")


@cache
def check_cache(*, edge: bool = False) -> str:
    """The Lua program of the check cache, without comments: every listener carries it.

    At the `edge` of the mesh callers may come through a load balancer with PROXY protocol.
    """
    directory = resources.files("mast.pilot.core.mixer").joinpath("check_cache")
    lines = [
        line.partition(" -- ")[0].strip()
        for part in _SCRIPT
        for line in directory.joinpath(part).read_text().splitlines()
    ]
    lines.insert(0, f"local EDGE = {str(edge).lower()}")
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("--"))


@dataclass(frozen=True)
class MixerExtensions(Extensions):
    """Checks and reports by Mixer as a MeshConfig asks for them; nothing without Mixer in it.

    `metric_tags` go with each report; of `headers` reports have these besides the usual ones.
    """

    mesh: Mesh
    headers: LoggedHeaders = access_logs.NO_OTHERS
    metric_tags: tuple[CustomTag, ...] = field(default=(), compare=False)

    def configured(self, scope: Scope) -> Extensions:
        """The same, whose reports have the headers that Mixer's configuration reads."""
        return replace(self, headers=logged_headers(scope)) if self._configured() else self

    def with_metric_tags(self, tags: Sequence[CustomTag]) -> Extensions:
        """The same, whose reports carry these tags about the metrics that are made of them."""
        return replace(self, metric_tags=tuple(tags)) if tags else self

    @property
    def _config(self) -> MeshConfig:
        return self.mesh.config

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        """What keeps who calls: reports are made of refused requests, too."""
        return (*peers.received(spot.direction),) if self._involved(spot) else ()

    def checks(self, spot: Spot) -> Sequence[HttpFilter]:
        """Check cache, check, and what tells the peers who calls.

        They come when tokens have been verified, whose claims are attributes, and for requests that
        other rules let pass (mixer_proxy.md C.5).
        """
        if not self._involved(spot):
            return ()
        filters: list[HttpFilter] = []
        check = self._check(spot)
        if check:
            filters += [
                HttpFilter(name=MARKS, typed_config=packed(_lua(spot.proxy))),
                HttpFilter(name=EXT_AUTHZ, typed_config=packed(_ext_authz(check))),
            ]
        return (*filters, *peers.forwarded(spot.direction))

    def network_filters(self, spot: Spot) -> Sequence[Filter]:
        """The check of a TCP connection, made when its first data arrives (K3)."""
        check = self._check(spot)
        if not check or not self._involved(spot):
            return ()
        config = TcpExtAuthz(
            stat_prefix="mixer",
            grpc_service=check_service(check),
            failure_mode_allow=check.fail_open,
            transport_api_version=ApiVersion.V3,
            include_tls_session=True,
        )
        return (Filter(name=TCP_EXT_AUTHZ, typed_config=packed(config)),)

    def http_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Reports of requests, unless `disableMixerHttpReports` is set."""
        cluster = report_cluster(self._config)
        if not cluster or self._config.disable_mixer_http_reports or not self._involved(spot):
            return ()
        log = access_logs.http_log(
            cluster, spot.direction, self._config, self.metric_tags, self.headers
        )
        return (log,)

    def tcp_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Reports of connections: opened, every ten seconds, closed."""
        cluster = report_cluster(self._config)
        if not cluster or not self._involved(spot):
            return ()
        return (
            access_logs.tcp_log(
                cluster,
                spot.direction,
                self._config,
                self.metric_tags,
                checked=bool(self._check(spot)),
            ),
        )

    def tcp_log_interval(self, spot: Spot) -> timedelta | None:
        """How often TCP proxies report an open connection; None if only when it ends."""
        return REPORT_INTERVAL if self.tcp_access_logs(spot) else None

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        """Nothing: a service belongs to the destination of a route."""
        return NOTHING

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        """The service as metadata, for checks, cache and reports alike.

        Calls of Mixer itself are not checked; before it there is no check anyway, and none of
        another authorizer is switched off. Who calls is told inside the mesh only.
        """
        if not self._configured():
            return NOTHING
        if host in replicas.hosts(self._config):
            return _unchecked() if spot.direction is Direction.OUTBOUND else NOTHING
        if spot.direction is Direction.INBOUND and service is None:
            return NOTHING
        leaves = spot.direction is Direction.OUTBOUND and (service is None or service.external)
        secret = HeaderMutations(request_remove=(peers.HEADER,) if leaves else ())
        return Additions(mutations=secret, metadata={MARKS: _service(host, service)})

    def _configured(self) -> bool:
        config = self._config
        return any(map(cluster_of, (config.mixer_check_server, config.mixer_report_server)))

    def _involved(self, spot: Spot) -> bool:
        """Mixer is there, and this is not the proxy before Mixer itself, which would ask itself."""
        if not self._configured():
            return False
        return spot.service is None or spot.service.host not in replicas.hosts(self._config)

    def _check(self, spot: Spot) -> Check | None:
        """How to check at a spot; None if checks are off there (mixer_proxy.md A39, A40)."""
        config, annotations = self._config, Annotations.of(spot.proxy)
        cluster = cluster_of(config.mixer_check_server)
        if not cluster or annotations.check == "disable":
            return None
        client_side = spot.direction is Direction.OUTBOUND and spot.proxy.type != ProxyType.ROUTER
        if not annotations.check and (
            config.disable_policy_checks
            or (client_side and not config.enable_client_side_policy_check)
        ):
            return None
        return Check(
            cluster=cluster,
            direction=spot.direction,
            fail_open=annotations.fail_open(config.policy_check_fail_open),
            annotations=annotations,
        )


def _lua(proxy: Proxy) -> Lua:
    """Under the name of the metadata: a script sees that metadata of routes only."""
    source = check_cache(edge=proxy.type is ProxyType.ROUTER)
    return Lua(default_source_code=DataSource(inline_string=source))


def _ext_authz(check: Check) -> ExtAuthz:
    """Runs unless the cache marked a hit: an error in it leads to a check, never past it (K4)."""
    return ExtAuthz(
        grpc_service=check_service(check),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=check.fail_open,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        include_tls_session=True,
        clear_route_cache=True,
        metadata_context_namespaces=[MARKS, JWT_METADATA],
        route_metadata_context_namespaces=[MARKS],
        filter_enabled_metadata=MetadataMatcher(
            filter=MARKS,
            path=[MetadataMatcher.PathSegment(key="hit")],
            value=ValueMatcher(bool_match=True),
            invert=True,
        ),
    )


@cache
def _unchecked() -> Additions:
    return Additions(typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))})


def _short_name(host: str) -> str:
    """`N` of a host `N.X.svc.D`, whatever registry it is from; any other host is its own name."""
    labels = host.split(".")
    return labels[0] if labels[2:3] == ["svc"] else host


def _service(host: str, service: Service | None) -> Struct:
    """Attributes of the destination service; of what passes through only a name (C.5)."""
    result = Struct()
    if service is None and "." not in host:
        result["destination.service.name"] = host
        return result
    name = service.name if service and service.name else _short_name(host)
    result["destination.service.host"] = host
    result["destination.service.name"] = name
    if service:
        result["destination.service.namespace"] = service.namespace
        result["destination.service.uid"] = f"istio://{service.namespace}/services/{name}"
    return result
