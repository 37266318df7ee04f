"""What one class of proxies sees in one snapshot: resources, generated when they are asked for."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Final, TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener

from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.clusters.clusters import outbound_cluster, service_clusters, sni_dnat_clusters
from mast.pilot.core.clusters.destination_rules import Rule, rule_for, traffic_policy
from mast.pilot.core.clusters.endpoints import Destination, load_assignment
from mast.pilot.core.clusters.inbound_clusters import fixed_clusters, inbound_clusters
from mast.pilot.core.clusters.locality import preference
from mast.pilot.core.filters.extensions import ExtensionsOf
from mast.pilot.core.gateways import listeners as gateway_listeners
from mast.pilot.core.gateways import routes as gateway_routes
from mast.pilot.core.gateways.servers import Translation, gateways, translation
from mast.pilot.core.listeners import listeners
from mast.pilot.core.listeners.workload_extensions import guarded, workload_extensions
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Resolution, Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.plugins.configurations import configuration
from mast.pilot.core.routes import on_demand, routes
from mast.pilot.core.scope.audience import Audience, targets
from mast.pilot.core.scope.families import Family, Member
from mast.pilot.core.scope.memo import Memo, Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security import credentials
from mast.pilot.core.world import name_table, proxy_config, trust_bundles
from mast.pilot.core.world.asides import hidden_clusters
from mast.pilot.core.world.faults import duplicate, without_credential, without_instances
from mast.pilot.core.world.originals import Originals, required
from mast.pilot.core.xds.resources import (
    CDS,
    ECDS,
    EDS,
    EMPTY,
    LDS,
    NDS,
    PCDS,
    RDS,
    SDS,
    TBDS,
    VHDS,
    Collection,
    Part,
    Resource,
    collection,
    packed,
)

T = TypeVar("T")

_NAME_TABLE: Final = "nametable"
_PROXY_CONFIG: Final = "proxyconfig"
_NO_PORT: Final = "0"
"""Name of a route configuration that no service can have routes in."""


@dataclass(frozen=True)
class MeshView:
    """The resources of one audience; see `mast.pilot.core.xds.resources.View`."""

    audience: Audience
    index: Index
    results: Memo
    originals: Originals
    extensions: ExtensionsOf

    @property
    def key(self) -> Hashable:
        """Equal for all proxies of the class, in every snapshot."""
        return self.audience.key

    def collection(self, type_url: str, reads: Reads | None = None) -> Collection:
        """All resources of a wildcard type; `EMPTY` for a type that the view does not have.

        `reads` are those of a result that it becomes part of.
        """
        if type_url == CDS:
            return self.results.get(
                ("clusters", self.audience.key),
                self.index.generation,
                reads,
                lambda own: Collection(tuple(self._clusters(self.scope(own)))),
            )
        if type_url == LDS:
            return self._collection(("listeners", self.audience.key), self._listeners, reads)
        if type_url == PCDS:
            return self._collection(("proxy config", self.audience.key), self._proxy_config, reads)
        if type_url == TBDS:
            return self._collection(("trust bundles",), trust_bundles.of(self.originals), reads)
        if type_url == NDS:
            return self._collection(("names", self.audience.caller_key), self._name_table, reads)
        return EMPTY

    def named(self, type_url: str, name: str, reads: Reads | None = None) -> Resource | None:
        """The resource of that name, None if there is none.

        A cluster that is not in the collection may be asked for on demand (pilot.md B25): one of
        any visible service, even if the Sidecar leaves it out.
        """
        if type_url == EDS:
            return self._kept(Member(*self._families[EDS], name), self._assignment, reads)
        if type_url == RDS:
            return self._kept(Member(*self._families[RDS], name), self._routes, reads)
        if type_url == SDS:
            whose = Member("credential", self.audience.proxy.namespace, name)
            return self._kept(whose, self._credential, reads)
        if type_url == ECDS:
            return self._kept(Member(*self._families[ECDS], name), self._plugin, reads)
        if type_url == CDS:
            found = self.collection(CDS, reads).get(name)
            key = Member("on demand", self.audience.caller_key, name)
            return found or self._kept(key, self._cluster_on_demand, reads)
        if type_url == VHDS:
            asked = ("found host", self.audience.caller_key, name)
            return self._kept_as(asked, lambda scope: self._found_host(name, scope), reads)
        return self.collection(type_url, reads).get(name)

    @property
    def generation(self) -> int:
        """Number of the index."""
        return self.index.generation

    def family(self, type_url: str) -> Family | None:
        """Named resources of these types are the same for all callers of a kind."""
        return self._families.get(type_url)

    def renewed(self, type_url: str, since: int) -> frozenset[str] | None:
        """Names of a family that must be looked up again; None if it was not followed."""
        family = self.family(type_url)
        if family is None or self.results.generation != self.index.generation:
            return None
        return self.results.renewed(family, since)

    @cached_property
    def _families(self) -> Mapping[str, Family]:
        whose = self.audience.caller_key
        return {
            EDS: ("endpoints", self.audience.neighbour_key),
            RDS: ("routes", self.audience.key if self._is_router else whose),
            ECDS: ("plugin", whose),
        }

    def scope(self, reads: Reads) -> Scope:
        """What the audience sees; questions asked of it are noted in `reads`."""
        everything = Scope(self.index, self.results, reads, self.audience.proxy.namespace)
        if self.audience.sidecar is None:
            return everything
        found = everything.config(collection_names.SIDECARS, *self.audience.sidecar)
        return everything.under(found)

    def _collection(
        self,
        key: Hashable,
        build: Callable[[Scope], Iterable[Resource]],
        reads: Reads | None,
    ) -> Collection:
        return self._kept_as(key, lambda scope: collection(build(scope)), reads)

    def _kept(self, key: Member, build: Callable[[str, Scope], T], reads: Reads | None) -> T:
        """The result for the name in a key."""
        return self._kept_as(key, lambda scope: build(key.name, scope), reads)

    def _kept_as(self, key: Hashable, build: Callable[[Scope], T], reads: Reads | None) -> T:
        generation = self.index.generation
        return self.results.get(key, generation, reads, lambda own: build(self.scope(own)))

    # Clusters

    def _clusters(self, scope: Scope) -> Iterator[Part]:
        """Clusters of others, shared by all callers for whom they are the same, and own ones."""
        whose = self.audience.caller_key
        yield scope.cached(("outbound clusters", whose), partial(self._part, self._outbound))
        if self.audience.proxy.type is ProxyType.ROUTER:
            yield scope.cached(("passed on", whose), partial(self._part, self._passed_on))
        own = ("own clusters", self.audience.key)
        yield scope.cached(own, partial(self._part, self._own))

    def _part(self, build: Callable[[Scope], Iterable[Resource]], scope: Scope) -> Part:
        """Clusters of one origin; of two with one name the first counts (pilot.md G8)."""
        unique: dict[str, Resource] = {}
        for each in build(scope):
            if unique.setdefault(each.name, each) is not each:
                scope.report(duplicate(each.name))
        return self.originals.part(unique.values())

    def _own(self, scope: Scope) -> Iterator[Resource]:
        """Clusters of the mesh's own making, and those that lead to the application."""
        proxy = self.audience.proxy
        own = proxy.type is ProxyType.SIDECAR
        yield from map(self._cluster, fixed_clusters(scope.mesh, proxy, inbound=own))
        served = targets(self.audience.served, scope)
        yield from map(self._cluster, inbound_clusters(scope, proxy, served) if own else ())
        yield from map(self._cluster, hidden_clusters(scope, self.audience))

    def _outbound(self, scope: Scope) -> Sequence[Resource]:
        """Clusters of all services, those of each service shared by all who follow one rule."""
        caller = self.audience.caller
        traits, place = _traits(caller), _place(caller)
        found: list[Resource] = []
        for service in scope.services():
            rule = rule_for(scope, service, caller.labels)
            where = place if service.resolution.is_dns else None
            key = ("service clusters", _identity(service, rule), traits, where)
            found += scope.shared(key, partial(self._of_service, service, rule))
        return found

    def _passed_on(self, scope: Scope) -> Sequence[Resource]:
        """Clusters for mutual TLS that a gateway passes on unopened (pilot.md G2)."""
        caller = self.audience.caller
        found: list[Resource] = []
        if _passes_on(scope, caller):
            for service in scope.services():
                rule = rule_for(scope, service, caller.labels)
                found += map(self._cluster, sni_dnat_clusters(service, rule, scope, caller))
        return found

    def _of_service(self, service: Service, rule: Rule | None, scope: Scope) -> Sequence[Resource]:
        scope.depend_on(service)
        made = service_clusters(service, rule, scope, self.audience.caller)
        return tuple(map(self._cluster, made))

    def _cluster(self, cluster: Cluster) -> Resource:
        return self.originals.resource(cluster.name, CDS, cluster, required(cluster))

    def _cluster_on_demand(self, name: str, scope: Scope) -> Resource | None:
        destination = self.destination(name, scope)
        if destination is None:
            return None
        cluster = outbound_cluster(destination, scope, self.audience.caller)
        return self._cluster(cluster) if cluster else None

    # Endpoints, routes, names

    def _assignment(self, name: str, scope: Scope) -> Resource | None:
        """Endpoints of a cluster, shared by all callers for whom they are the same."""
        destination = self.destination(name, scope)
        if destination is None or not _has_eds(destination.service, self.audience.caller):
            return None
        caller = self.audience.caller
        policy = traffic_policy(
            scope.mesh, destination.rule, destination.subset, destination.port.number
        )
        wish = preference(scope.mesh, policy, destination.service)
        if destination.service.by_node:
            caller = self.audience.neighbour
        near = _near(caller) if wish.matters or destination.service.node_local else None
        identity = _identity(destination.service, destination.rule)
        key = ("assignment", name, identity, _reach(caller), near)

        def made(inner: Scope) -> Resource:
            inner.depend_on(destination.service)
            assignment = load_assignment(name, destination, inner, caller)
            if not assignment.endpoints:
                inner.report(without_instances(name, destination.service))
            return self.originals.resource(name, EDS, assignment)

        return scope.shared(key, made)

    def _routes(self, name: str, scope: Scope) -> Resource:
        """Routes of a name; for one that stands for nothing only the catch-all (pilot.md B10)."""
        extensions = self.extensions(scope.mesh)
        if self._is_router:
            made = gateway_routes.route_configuration(
                name, scope, self.audience.proxy, self._translation(scope), extensions
            )
            if made is not None:
                return self.originals.resource(name, RDS, made)
        caller = self.audience.caller
        found = (routes.routes(each, scope, caller, extensions) for each in (name, _NO_PORT))
        table = replace(next(each for each in found if each is not None), name=name)
        return self.originals.known(packed(name, RDS, table.parts, table.version))

    def _found_host(self, name: str, scope: Scope) -> Resource | None:
        """A virtual host that the proxy asked for because of a request (pilot.md B25)."""
        caller, extensions = self.audience.caller, self.extensions(scope.mesh)
        made = on_demand.virtual_host(name, scope, caller, extensions) if caller.on_demand else None
        return self.originals.resource(name, VHDS, made) if made else None

    def _plugin(self, name: str, scope: Scope) -> Resource | None:
        made = configuration(name, scope)
        return self.originals.resource(name, ECDS, made) if made else None

    def _proxy_config(self, scope: Scope) -> Iterator[Resource]:
        made = proxy_config.proxy_config(scope, self.audience.proxy)
        yield self.originals.resource(_PROXY_CONFIG, PCDS, made)

    def _credential(self, name: str, scope: Scope) -> Resource | None:
        """A credential that proxies of the namespace may use (pilot.md I5)."""
        found = credentials.secret(name, scope)
        if isinstance(found, credentials.Unavailable):
            scope.report(without_credential(name, found))
            return None
        return self.originals.resource(name, SDS, found)

    def _name_table(self, scope: Scope) -> Iterator[Resource]:
        yield self.originals.resource(
            _NAME_TABLE, NDS, name_table.name_table(scope, self.audience.caller)
        )

    def _listeners(self, scope: Scope) -> Iterator[Resource]:
        proxy = self.audience.proxy
        extensions = workload_extensions(scope, proxy, self.extensions(scope.mesh))
        served = targets(self.audience.served, scope)
        facing_others = guarded(extensions, scope, proxy, served)
        made: Sequence[Listener] = ()
        if self._is_router:
            made = gateway_listeners.listeners(
                scope, proxy, self._translation(scope), facing_others
            )
        elif proxy.type is ProxyType.SIDECAR:
            made = [
                *listeners.outbound(scope, proxy, extensions),
                *listeners.inbound(scope, proxy, served, facing_others),
            ]
        for each in made:
            yield self.originals.resource(each.name, LDS, each, required(each))

    @property
    def _is_router(self) -> bool:
        return self.audience.proxy.type is ProxyType.ROUTER

    def _translation(self, scope: Scope) -> Translation:
        """Ports of a router that stand behind those of its Services (pilot.md I2)."""
        return translation(targets(self.audience.served, scope))

    def destination(self, name: str, scope: Scope) -> Destination | None:
        """What an outbound cluster name stands for; also beyond the Sidecar (pilot.md B25)."""
        parts = names.parse_outbound_cluster(name)
        if parts is None:
            return None
        for sight in (scope, scope.under(None)):
            service = sight.service(parts.host)
            port = service.port(parts.port) if service and service.host == parts.host else None
            if service is not None and port is not None:
                rule = rule_for(scope, service, self.audience.caller.labels)
                known = not parts.subset or (rule is not None and parts.subset in rule.subsets)
                return Destination(service, port, parts.subset, rule) if known else None
        return None


def _passes_on(scope: Scope, caller: Proxy) -> bool:
    """Whether a Gateway with a server of mode AUTO_PASSTHROUGH selects the proxy."""
    return any(
        server.tls.mode == ServerTLSSettings.AUTO_PASSTHROUGH
        for each in gateways(scope, caller)
        for server in each.spec.servers
    )


def _identity(service: Service, rule: Rule | None) -> Hashable:
    """What names a service, the ports of it that are seen, and a rule, within one snapshot."""
    ports = tuple(each.number for each in service.ports)
    origins = tuple((each.namespace, each.name) for each in rule.origins) if rule else ()
    return service.key, ports, origins


def _traits(caller: Proxy) -> Hashable:
    """What clusters depend on besides service and rule."""
    files = tuple(caller.text(f"TLS_CLIENT_{each}") for each in ("CERT_CHAIN", "KEY", "ROOT_CERT"))
    return caller.type, caller.ipv4, caller.ipv6, files


def _reach(caller: Proxy) -> Hashable:
    """Which endpoints a caller sees depends on this."""
    families = (caller.ipv4, caller.ipv6)
    return caller.network, caller.cluster_id, caller.text("REQUESTED_NETWORK_VIEW"), families


def _near(caller: Proxy) -> Hashable:
    """Which endpoints come first for a caller depends on this."""
    return caller.locality, *sorted(caller.labels.items())


def _place(caller: Proxy) -> Hashable:
    """Clusters that hold their endpoints depend on this as well."""
    return _reach(caller), _near(caller)


def _has_eds(service: Service, caller: Proxy) -> bool:
    """Whether clusters of a service get their endpoints by EDS at all."""
    if service.resolution is Resolution.PASSTHROUGH:
        return service.headless and (caller.type is not ProxyType.SIDECAR or caller.proxyless)
    return service.resolution is Resolution.STATIC
