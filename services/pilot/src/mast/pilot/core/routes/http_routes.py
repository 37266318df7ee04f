"""Envoy routes of one VirtualService, or of a service that has none."""

from collections.abc import Iterator
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Decorator, Route, RouteMatch
from google.protobuf.struct_pb2 import Struct, Value

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    VirtualService,
)
from mast.pilot.core import names
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.routes.route_actions import Setting, forwarding, set_action
from mast.pilot.core.scope.matches import Caller, applies, route_match
from mast.pilot.core.scope.virtual_services import path_separated

_EVERYTHING: Final = HTTPMatchRequest()


def virtual_service_routes(
    config: Config[VirtualService], caller: Caller, setting: Setting
) -> Iterator[Route]:
    """Routes of the matches that concern a caller, in order (pilot.md F2).

    One route per match. An entry without matches takes everything, so nothing follows it.
    """
    for http in config.spec.http:
        for match in http.match:
            if applies(match, caller):
                yield _route(config.meta, http, match, setting)
        if not http.match:
            yield _route(config.meta, http, _EVERYTHING, setting)
            return


def default_route(destination: Destination, setting: Setting) -> Route:
    """The route to a service that no VirtualService governs (pilot.md F2)."""
    backend = setting.backend(destination)
    route = Route(
        name=names.DEFAULT_ROUTE,
        match=RouteMatch(prefix="/"),
        route=forwarding(backend, setting.retry),
    )
    backend.additions.apply(route)
    backend.additions.apply_metadata(route)
    _decorate(route, "", setting.port)
    return route


def _route(meta: ConfigMeta, http: HTTPRoute, match: HTTPMatchRequest, setting: Setting) -> Route:
    route = Route(
        name=f"{http.name}.{match.name}" if match.name else http.name,
        match=route_match(match, path_separated=path_separated(meta)),
        stat_prefix=match.stat_prefix,
    )
    route.metadata.filter_metadata["istio"].CopyFrom(_config(meta))
    set_action(route, http, setting)
    _decorate(route, meta.name, setting.port)
    return route


def _config(meta: ConfigMeta) -> Struct:
    """Metadata that names the configuration a route comes from (pilot.md C3)."""
    return Struct(fields={"config": Value(string_value=names.config_reference(meta))})


def _decorate(route: Route, virtual_service: str, port: int) -> None:
    """Name the operation in traces `HOST:PORT/PATH`, by the VirtualService if hosts are several."""
    parsed = names.parse_outbound_cluster(route.route.cluster)
    where = f"{parsed.host}:{parsed.port}" if parsed else f"{virtual_service}:{port}"
    route.decorator.CopyFrom(Decorator(operation=where + _path(route.match)))


def _path(match: RouteMatch) -> str:
    kind = match.WhichOneof("path_specifier")
    if kind == "path":
        return match.path
    if kind == "safe_regex":
        return match.safe_regex.regex
    if kind == "path_separated_prefix":
        return f"{match.path_separated_prefix}/*"
    return f"{match.prefix}*"
