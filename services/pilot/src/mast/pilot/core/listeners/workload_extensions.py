"""Everything that is added to the listeners of one proxy: engine, telemetry and plugins."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, LogTypeFilter
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.pilot.core.filters.access_logs import filtered
from mast.pilot.core.filters.extensions import (
    Additions,
    Direction,
    Extensions,
    Guard,
    Phase,
    Spot,
    Traced,
)
from mast.pilot.core.listeners.guards import Guards, guards
from mast.pilot.core.model.model import Service, Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.plugins.plugins import Plugins, plugins
from mast.pilot.core.scope.proxy_configs import effective
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.telemetry.telemetry import Telemetry, telemetry


@dataclass(frozen=True)
class WorkloadExtensions(Extensions):
    """The policy engine's additions, and what Telemetry and plugins of the workload add to them.

    Equal for proxies whose listeners get the same of it.
    """

    engine: Extensions
    own_telemetry: Telemetry = field(default_factory=Telemetry)
    own_plugins: Plugins = field(default_factory=Plugins)
    headers: bytes = b""
    """`proxyHeaders` of the proxy, serialised."""
    own_guards: Guards = field(default_factory=Guards)

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        """Those of the engine."""
        return self.engine.http_filters(spot)

    def checks(self, spot: Spot) -> Sequence[HttpFilter]:
        """Those of the engine."""
        return self.engine.checks(spot)

    def network_filters(self, spot: Spot) -> Sequence[Filter]:
        """Those of the engine."""
        return self.engine.network_filters(spot)

    def guards(self, spot: Spot, guard: Guard) -> Sequence[HttpFilter]:
        """HTTP filters of security policies, in their order."""
        return self.own_guards.http(spot, guard)

    def network_guards(self, spot: Spot, guard: Guard) -> Sequence[Filter]:
        """Network filters of security policies, in their order."""
        return self.own_guards.network(spot, guard)

    def plugins(self, spot: Spot, phase: Phase) -> Sequence[HttpFilter]:
        """HTTP plugins of a phase, in their order."""
        return self.own_plugins.http(spot, phase)

    def network_plugins(self, spot: Spot, phase: Phase) -> Sequence[Filter]:
        """Network plugins of a phase, in their order."""
        return self.own_plugins.network(spot, phase)

    def tracing(self, spot: Spot) -> Traced | None:
        """How requests are traced, None: not at all."""
        return self.own_telemetry.of(spot.direction).traced

    def proxy_headers(self) -> ProxyConfig.ProxyHeaders:
        """Which headers the proxy adds by itself."""
        return ProxyConfig.ProxyHeaders.FromString(self.headers)

    def http_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Loggers of users first."""
        return [
            *self.own_telemetry.of(spot.direction).http_logs,
            *self._reporting(spot.direction).http_access_logs(spot),
        ]

    def tcp_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Loggers of users, which hear of ends only, whatever the engine wants to hear of."""
        own = self.own_telemetry.of(spot.direction).tcp_logs
        if self.engine.tcp_log_interval(spot) is not None:
            own = [*map(_of_ends, own)]
        return [*own, *self._reporting(spot.direction).tcp_access_logs(spot)]

    def listener_access_logs(self, direction: Direction) -> Sequence[AccessLog]:
        """Loggers of connections that no filter chain takes."""
        return self.own_telemetry.of(direction).listener_logs

    def tcp_log_interval(self, spot: Spot) -> timedelta | None:
        """The engine's, unless Telemetry has a `reportingInterval` (Istio Telemetry, "metrics")."""
        usual = self.engine.tcp_log_interval(spot)
        return usual and (self.own_telemetry.of(spot.direction).interval or usual)

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        """Those of the engine."""
        return self.engine.virtual_host(spot, service)

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        """Those of the engine."""
        return self.engine.destination(spot, host, service)

    def _reporting(self, direction: Direction) -> Extensions:
        return self.engine.with_metric_tags(self.own_telemetry.of(direction).metric_tags)


def workload_extensions(scope: Scope, proxy: Proxy, engine: Extensions) -> WorkloadExtensions:
    """What is added to the listeners of a proxy, but for what guards it from others."""
    headers = effective(scope, proxy).proxy_headers
    return WorkloadExtensions(
        engine.configured(scope),
        telemetry(scope, proxy),
        plugins(scope, proxy),
        headers.SerializeToString(deterministic=True),
    )


def guarded(
    extensions: WorkloadExtensions, scope: Scope, proxy: Proxy, served: Sequence[Target]
) -> WorkloadExtensions:
    """The same for listeners that others call a proxy at, which serves the targets: security
    policies are added.
    """
    return replace(extensions, own_guards=guards(scope, proxy, served))


def _of_ends(logger: AccessLog) -> AccessLog:
    ends = LogTypeFilter(types=[AccessLogType.TcpConnectionEnd])
    return filtered(logger, AccessLogFilter(log_type_filter=ends))
