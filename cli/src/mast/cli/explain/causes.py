"""Which configuration object, and which field of it, something comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import VirtualHost

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.cli.explain.story import Cause
from mast.cli.inspect.tables import config_reference
from mast.common.keys import config_key
from mast.common.kinds import named
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Path, path_text
from mast.pilot.core import names
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config, Labels, Service, selects
from mast.pilot.core.scope.matches import Caller, applies

_RULES = named("rule")


@dataclass(frozen=True)
class Causes:
    """Looks objects up in the mesh, and where they stand in files."""

    index: Index
    written: Mapping[str, ConfigObject] = field(default_factory=dict)

    def of(self, config: Config[Any], path: Path = ()) -> Cause:
        """An object, perhaps a field of it."""
        meta = config.meta
        key = config_key(meta.collection, meta.namespace, meta.name)
        return Cause(meta.kind, meta.namespace, meta.name, path_text(path), self._where(key, path))

    def _where(self, key: str, path: Path) -> str:
        written = self.written.get(key)
        if written is None:
            return ""
        while path and path not in written.positions:
            path = path[:-1]
        position = written.positions.get(path, written.position)
        return f"{written.source}:{position.line}" if position.line else written.source

    def referred(self, reference: str) -> Config[Any] | None:
        """The object that the metadata of a cluster or route names (pilot.md C3)."""
        parts = reference.split("/")
        if len(parts) != 8:
            return None
        namespace, name = parts[5], parts[7]
        for collection in (collection_names.VIRTUAL_SERVICES, collection_names.DESTINATION_RULES):
            for each in self.index.configs.get((collection, namespace), ()):
                if names.config_reference(each.meta) == reference and each.meta.name == name:
                    return each
        return None

    def service(self, service: Service) -> Iterator[Cause]:
        """The ServiceEntry that declares a service; a platform's service is named as such."""
        entries = self.index.configs.get((collection_names.SERVICE_ENTRIES, service.namespace), ())
        for each in entries:
            if each.meta.name == service.origin and service.host in each.spec.hosts:
                yield self.of(each, ("spec", "hosts", list(each.spec.hosts).index(service.host)))
                return
        yield Cause(f"{service.registry} service", service.namespace, service.host)

    def route(self, host: VirtualHost, position: int, caller: Caller) -> Iterator[Cause]:
        """The VirtualService of a route, down to the match if that is certain."""
        reference = config_reference(host.routes[position].metadata)
        config = self.referred(reference)
        if config is None:
            return
        same = [
            number
            for number, route in enumerate(host.routes)
            if config_reference(route.metadata) == reference
        ]
        fields = list(_entries(config.spec, caller))
        # Delegates are joined in, and routes that cannot be reached left out: then only the object.
        certain = len(same) == len(fields)
        yield self.of(config, fields[same.index(position)] if certain else ("spec", "http"))

    def cluster(self, cluster: Cluster, subset: str) -> Iterator[Cause]:
        """The DestinationRule of a cluster, with its subset or policy."""
        config = self.referred(config_reference(cluster.metadata))
        if config is None:
            return
        for number, each in enumerate(config.spec.subsets):
            if subset and each.name == subset:
                yield self.of(config, ("spec", "subsets", number))
                return
        policy = config.spec.HasField("traffic_policy")
        yield self.of(config, ("spec", "trafficPolicy") if policy else ("spec", "host"))

    def selecting(self, collection: str, namespace: str, labels: Labels) -> Sequence[Cause]:
        """Policies that hold for a workload: of the root and its own namespace, as they select."""
        return [
            self.of(each)
            for home in dict.fromkeys((self.index.mesh.root_namespace, namespace))
            for each in self.index.configs.get((collection, home), ())
            if selects(_selector(each.spec), labels)
        ]

    def gateways(self, labels: Labels, port: int) -> Sequence[Cause]:
        """Servers of Gateways that a router with these labels has on a port."""
        return [
            self.of(each, ("spec", "servers", number))
            for each in self.index.collections.get(collection_names.GATEWAYS, ())
            if each.spec.selector and selects(each.spec.selector, labels)
            for number, server in enumerate(each.spec.servers)
            if server.port.number == port
        ]

    def authorization_rule(self, namespace: str, name: str, rule: int) -> Cause:
        """A rule of an AuthorizationPolicy, which may be known by its name only (pilot.md J4)."""
        path: Path = ("spec", "rules", rule)
        for each in self.index.configs.get(
            (collection_names.AUTHORIZATION_POLICIES, namespace), ()
        ):
            if each.meta.name == name:
                return self.of(each, path)
        return Cause("AuthorizationPolicy", namespace, name, path_text(path))

    def role(self, name: str, namespace: str) -> Cause | None:
        """A role of Istio 1.4 by its name in Envoy: `/NAME` is one of the root namespace, and
        `binding[NAME]` are rules of a binding (pilot.md J7).
        """
        collection, home = collection_names.SERVICE_ROLES, namespace
        if name.startswith("/"):
            name, home = name[1:], self.index.mesh.root_namespace
        elif name.startswith("binding["):
            collection, name = collection_names.SERVICE_ROLE_BINDINGS, name[8:-1]
        for each in self.index.configs.get((collection, home), ()):
            if each.meta.name == name:
                return self.of(each, ("spec",))
        return None

    def mixer_rules(self, namespace: str) -> Sequence[Cause]:
        """Rules by which Mixer would judge a request to a namespace (mixer.md)."""
        homes = dict.fromkeys((self.index.mesh.root_namespace, namespace))
        return [
            self.of(each)
            for kind in _RULES
            for home in homes
            for each in self.index.configs.get((kind.collection, home), ())
        ]


def _selector(spec: Any) -> Labels:
    """The labels a policy selects by, whatever the field is called."""
    names_of_fields = spec.DESCRIPTOR.fields_by_name
    if "workload_selector" in names_of_fields:
        return dict(spec.workload_selector.labels)
    if "selector" in names_of_fields:
        return dict(spec.selector.match_labels)
    return {}


def _entries(spec: VirtualService, caller: Caller) -> Iterator[Path]:
    """Fields of the routes that a VirtualService gives a caller, in their order (F2)."""
    for number, http in enumerate(spec.http):
        for place, match in enumerate(http.match):
            if applies(match, caller):
                yield ("spec", "http", number, "match", place)
        if not http.match:
            yield ("spec", "http", number)
            return
