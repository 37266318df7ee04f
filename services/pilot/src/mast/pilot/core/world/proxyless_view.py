"""What a gRPC library gets that speaks xDS itself: only what it names (pilot.md B29)."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mast.pilot.core import names as mesh_names
from mast.pilot.core.proxyless import clusters, endpoints, listeners, names, routes
from mast.pilot.core.scope.audience import Audience, targets
from mast.pilot.core.scope.families import Family, Member
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.grpc_servers import server_rules
from mast.pilot.core.security.legacy.grpc_servers import old_server_rules
from mast.pilot.core.world.originals import required
from mast.pilot.core.world.view import MeshView
from mast.pilot.core.xds.resources import (
    CDS,
    EDS,
    EMPTY,
    LDS,
    NDS,
    PCDS,
    RDS,
    TBDS,
    Collection,
    Resource,
)


@dataclass(frozen=True)
class ProxylessView:
    """See `mast.pilot.core.xds.resources.View`; `generated` is what an Envoy there would get."""

    generated: MeshView

    @property
    def audience(self) -> Audience:
        """The class of workloads."""
        return self.generated.audience

    @property
    def key(self) -> Hashable:
        """Equal for all workloads of the class, in every snapshot."""
        return self.generated.key

    @property
    def generation(self) -> int:
        """Number of the index."""
        return self.generated.generation

    def scope(self, reads: Reads) -> Scope:
        """What the audience sees; questions asked of it are noted in `reads`."""
        return self.generated.scope(reads)

    def collection(self, type_url: str) -> Collection:
        """What the workload's agent asks for on the same stream; gRPC itself asks by name."""
        return self.generated.collection(type_url) if type_url in (NDS, PCDS, TBDS) else EMPTY

    def named(self, type_url: str, name: str) -> Resource | None:
        """The resource of that name, None for a name that is unknown or of no use to gRPC."""
        build = self._builders.get(type_url)
        if build is None:
            return None
        results, key = self.generated.results, Member(*self._families[type_url], name)
        return results.get(key, self.generation, None, lambda reads: build(name, reads))

    def family(self, type_url: str) -> Family | None:
        """Listeners are a workload's own, because of its servers; all else is its callers'."""
        return self._families.get(type_url)

    def renewed(self, type_url: str, since: int) -> frozenset[str] | None:
        """Names of a family that must be looked up again; None if it was not followed."""
        family, results = self.family(type_url), self.generated.results
        if family is None or results.generation != self.generation:
            return None
        return results.renewed(family, since)

    @cached_property
    def _families(self) -> Mapping[str, Family]:
        whose = self.audience.caller_key
        return {
            LDS: ("proxyless listeners", self.audience.key),
            RDS: ("proxyless routes", whose),
            CDS: ("proxyless clusters", whose),
            EDS: ("proxyless endpoints", self.audience.neighbour_key),
        }

    @property
    def _builders(self) -> Mapping[str, Callable[[str, Reads], Resource | None]]:
        return {
            LDS: self._listener,
            RDS: self._routes,
            CDS: self._cluster,
            EDS: self._assignment,
        }

    def _listener(self, name: str, reads: Reads) -> Resource | None:
        scope, audience = self.scope(reads), self.audience
        if (address := names.server_address(name)) is not None:
            served = [
                each for each in targets(audience.served, scope) if each.target_port == address.port
            ]
            oldest = min(served, key=lambda each: each.service.age, default=None)
            rules = [
                *server_rules(scope, audience.proxy),
                *old_server_rules(scope, audience.proxy, oldest),
            ]
            made = listeners.server_listener(name, address, scope, audience.proxy, oldest, rules)
        elif (found := names.target(name, scope, audience.caller)) is not None:
            made = listeners.client_listener(name, found)
        else:
            return None
        return self.generated.originals.resource(name, LDS, made, required(made))

    def _routes(self, name: str, reads: Reads) -> Resource | None:
        scope, caller = self.scope(reads), self.audience.caller
        parts = mesh_names.parse_outbound_cluster(name)
        if parts is None or parts.subset:
            return None
        found = names.target(f"{parts.host}:{parts.port}", scope, caller)
        if found is None:
            return None
        made = routes.route_configuration(name, found, scope, caller)
        return self.generated.originals.resource(name, RDS, made)

    def _cluster(self, name: str, reads: Reads) -> Resource | None:
        scope = self.scope(reads)
        destination = self.generated.destination(name, scope)
        if destination is None:
            return None
        made = clusters.cluster(destination, scope, self.audience.caller)
        if made is None:
            return None
        return self.generated.originals.resource(name, CDS, made, required(made))

    def _assignment(self, name: str, reads: Reads) -> Resource | None:
        found = self.generated.named(EDS, name, reads)
        if found is None:
            return None
        made = endpoints.dialable(ClusterLoadAssignment.FromString(found.body))
        return self.generated.originals.resource(name, EDS, made)
