"""What a proxy was told, in the shape of Envoy's own `/config_dump` (pilot.md M1)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from envoy.admin.v3.config_dump_pb2 import ConfigDump, SecretsConfigDump
from envoy.admin.v3.config_dump_shared_pb2 import (
    ClustersConfigDump,
    EcdsConfigDump,
    EndpointsConfigDump,
    ListenersConfigDump,
    RoutesConfigDump,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from mast.pilot.core.xds.redaction import redact
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SDS, SHORT_NAMES, Resource
from mast.pilot.core.xds.session import Session


def config_dump(
    session: Session, *, types: frozenset[str] = frozenset(), endpoints: bool = False
) -> Mapping[str, Any]:
    """The dump as JSON; see `dump`."""
    return MessageToDict(dump(session, types=types, endpoints=endpoints))


def dump(
    session: Session, *, types: frozenset[str] = frozenset(), endpoints: bool = False
) -> ConfigDump:
    """What a proxy was told; `types` are short names to choose from, endpoints come on demand.

    Secrets are named, their contents left out; what is secret in others is redacted.
    """
    wanted = {CDS, LDS, RDS, SDS, ECDS} | ({EDS} if endpoints else set())
    if types:
        wanted = {url for url, short in SHORT_NAMES.items() if short in types}
    made = ConfigDump()
    for url, make in _DUMPS.items():
        if url in wanted:
            made.configs.add().Pack(make(tuple(session.resources(url))))
    redact(made)
    return made


def resources(session: Session, type_url: str) -> Iterable[Mapping[str, Any]]:
    """Resources of one type as JSON objects."""
    found = [_any(each) for each in session.resources(type_url)]
    for each in found:
        redact(each)
    return [MessageToDict(each) for each in found]


def _any(resource: Resource) -> AnyMessage:
    return AnyMessage(type_url=resource.type_url, value=resource.body)


def _clusters(found: Iterable[Resource]) -> ClustersConfigDump:
    made = ClustersConfigDump()
    for each in found:
        made.dynamic_active_clusters.add(version_info=each.version, cluster=_any(each))
    return made


def _listeners(found: Iterable[Resource]) -> ListenersConfigDump:
    made = ListenersConfigDump()
    for each in found:
        state = made.dynamic_listeners.add(name=each.name).active_state
        state.version_info = each.version
        state.listener.CopyFrom(_any(each))
    return made


def _routes(found: Iterable[Resource]) -> RoutesConfigDump:
    made = RoutesConfigDump()
    for each in found:
        made.dynamic_route_configs.add(version_info=each.version, route_config=_any(each))
    return made


def _endpoints(found: Iterable[Resource]) -> EndpointsConfigDump:
    made = EndpointsConfigDump()
    for each in found:
        made.dynamic_endpoint_configs.add(version_info=each.version, endpoint_config=_any(each))
    return made


def _extensions(found: Iterable[Resource]) -> EcdsConfigDump:
    made = EcdsConfigDump()
    for each in found:
        made.ecds_filters.add(version_info=each.version, ecds_filter=_any(each))
    return made


def _secrets(found: Iterable[Resource]) -> SecretsConfigDump:
    made = SecretsConfigDump()
    for each in found:
        made.dynamic_active_secrets.add(name=each.name, version_info=each.version)
    return made


_DUMPS: Final[Mapping[str, Callable[[Iterable[Resource]], Message]]] = {
    CDS: _clusters,
    LDS: _listeners,
    RDS: _routes,
    EDS: _endpoints,
    ECDS: _extensions,
    SDS: _secrets,
}
