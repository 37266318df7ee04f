"""What proxies of one namespace and Sidecar may see: the only way generators read the mesh.

Every question asked of a `Scope` is noted as a fact its result depends on (see `memo`). Services
are visible by `exportTo`; a Sidecar narrows them down per egress listener (pilot.md D11).
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from istio.networking.v1alpha3.sidecar_pb2 import OutboundTrafficPolicy, Sidecar
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common.credentials import Credential
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import (
    Config,
    Endpoint,
    Identities,
    Labels,
    Service,
    ServiceKey,
    Workload,
    selects,
)
from mast.pilot.core.model.public_keys import NOT_FETCHED, KeySource, PublicKeys
from mast.pilot.core.model.settling import Step
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.egress import (
    ANY_WILDCARD,
    Egress,
    NotedEgress,
    OpenEgress,
    SelectedEgress,
    differing,
    selected,
    united,
)
from mast.pilot.core.scope.families import Derived
from mast.pilot.core.scope.memo import Fact, Memo, Reads
from mastapi.trust.v1.trust_pb2 import TrustBundle

T = TypeVar("T")

NOBODY: Final = Identities()


class ScopeKey(NamedTuple):
    """Equal keys see the same: namespace, and namespace and name of the Sidecar ("" if none)."""

    namespace: str
    sidecar_namespace: str = ""
    sidecar: str = ""


class Scope:
    """What one group of proxies sees, noting each question in the reads of one result."""

    def __init__(
        self,
        index: Index,
        results: Memo,
        reads: Reads,
        namespace: str,
        sidecar: Config[Sidecar] | None = None,
    ) -> None:
        self._index = index
        self._results = results
        self._reads = reads
        self._sidecar = sidecar
        self.namespace = namespace

    @property
    def key(self) -> ScopeKey:
        """Equal for scopes that see the same at equal revisions."""
        if self._sidecar is None:
            return ScopeKey(self.namespace)
        meta = self._sidecar.meta
        return ScopeKey(self.namespace, meta.namespace, meta.name)

    def noting(self, reads: Reads) -> "Scope":
        """The same scope for another result, which depends on what is asked of it."""
        return Scope(self._index, self._results, reads, self.namespace, self._sidecar)

    def under(self, sidecar: Config[Sidecar] | None) -> "Scope":
        """What the same namespace sees under a Sidecar, or (None) under none."""
        return Scope(self._index, self._results, self._reads, self.namespace, sidecar)

    def cached(self, key: Hashable, build: Callable[["Scope"], T]) -> T:
        """`build(scope)`, kept for this scope until a fact that it reads changes.

        The key must hold everything else that the result depends on: function, port, proxy class.
        """
        return self.shared((self.key, key), build)

    def shared(self, key: Hashable, build: Callable[["Scope"], T]) -> T:
        """As `cached`, but kept once for all scopes: the result must be equal in all of them.

        So it may read `mesh`, `endpoints`, `identities`, `configs`, `public_keys`, and what stands
        in the key and was made known by `depend_on`.
        """
        return self._results.get(
            key, self._index.generation, self._reads, lambda reads: build(self.noting(reads))
        )

    def continued(self, key: Hashable, build: Callable[["Scope", T | None], T]) -> T:
        """As `cached`; `build` is also given the result in whose place it comes, if there is one.

        The result must be the one that is made from nothing, all but its identity.
        """
        return self._results.continued(
            (self.key, key),
            self._index.generation,
            self._reads,
            lambda reads, before: build(self.noting(reads), before),
        )

    def members(
        self,
        kind: str,
        owner: Hashable,
        names: Sequence[str],
        build: Callable[[str, "Scope"], T],
    ) -> Mapping[str, T]:
        """`build(name, scope)` for some names, each kept; what did not change is not looked at.

        It is the same object as before if nothing changed. Kind and owner hold everything else
        that the results depend on.
        """
        return self._results.members(
            (kind, (self.key, owner)),
            names,
            self._index.generation,
            self._reads,
            lambda name, reads: build(name, self.noting(reads)),
        )

    def report(self, finding: Finding) -> None:
        """Something is not as its author wants it; it stays known as long as the result is kept.

        Counted, listed under `/debug/push_status` and published with the object (pilot.md N10).
        """
        self._reads.report((finding,))

    def depend_on(self, service: Service) -> None:
        """The result uses this service, and rules for it, that were looked up before."""
        self._reads.note(memo.SERVICE, service.host)
        self._reads.note(memo.DESTINATION_RULE, service.host)
        self._reads.note(memo.DESTINATION_RULE, ANY_WILDCARD)

    # Mesh and Sidecar

    @property
    def mesh(self) -> Mesh:
        """Mesh-wide settings."""
        self._reads.note(memo.MESH)
        return self._index.mesh

    @property
    def trust(self) -> Mapping[str, TrustBundle]:
        """Root bundles by trust domain."""
        self._reads.note(memo.TRUST)
        return self._index.trust

    @property
    def sidecar(self) -> Config[Sidecar] | None:
        """The Sidecar that applies, None if there is none."""
        if self._sidecar is not None:
            self._note_configs(collection_names.SIDECARS, self._sidecar.meta.namespace)
        return self._sidecar

    @property
    def outbound_policy(self) -> OutboundTrafficPolicy:
        """Mode and egress proxy for unknown destinations: the Sidecar's, else the mesh's (D11)."""
        sidecar = self.sidecar
        if sidecar is not None and sidecar.spec.HasField("outbound_traffic_policy"):
            return sidecar.spec.outbound_traffic_policy
        mode = OutboundTrafficPolicy.ALLOW_ANY
        if not self.mesh.allow_any:
            mode = OutboundTrafficPolicy.REGISTRY_ONLY
        return OutboundTrafficPolicy(mode=mode)

    # Services

    @property
    def egress(self) -> Sequence[Egress]:
        """Egress listeners in the order of the Sidecar; a single open one if it has none.

        Those with a port come before the one without (Istio Sidecar, "egress").
        """
        sidecar = self.sidecar
        if sidecar is None or not sidecar.spec.egress:
            return (self._everything,)
        selected = self.selected_egress
        return tuple(
            NotedEgress(each, self._egress_name(where), self._reads)
            for where, each in enumerate(selected)
        )

    @property
    def selected_egress(self) -> Sequence[SelectedEgress]:
        """The egress listeners of the Sidecar; kept as a derived result (see `memo`)."""
        return self._results.get(
            Derived(memo.EGRESS, self.key),
            self._index.generation,
            None,
            lambda reads: _selected_egress(self.noting(reads)),
        )

    def differing_egress(self, old: Sequence[SelectedEgress]) -> Iterator[Fact]:
        """The facts in which the egress listeners differ from what they were."""
        for where, (before, now) in enumerate(zip(old, self.selected_egress, strict=False)):
            yield from differing(self._egress_name(where), before, now)

    def _egress_name(self, where: int) -> str:
        return f"{'/'.join(self.key)} {where}"

    @property
    def _everything(self) -> OpenEgress:
        return OpenEgress(self._index, self.namespace, self._reads)

    def service(self, host: str) -> Service | None:
        """The service of a host, with the ports of all egress listeners.

        The name of an alias gives the service it stands for (pilot.md D, ExternalName).
        """
        listeners = self.egress
        found = [service for each in listeners if (service := each.service(host)) is not None]
        return found[0] if len(found) == 1 else next(iter(united(found)), None)

    def services(self) -> Sequence[Service]:
        """All services the proxies see, sorted by host; ports of all egress listeners united."""
        listeners = self.egress
        if len(listeners) == 1:
            return listeners[0].services()
        return self.cached(
            "services",
            lambda scope: united(one for each in scope.egress for one in each.services()),
        )

    def virtual_service(self, host: str) -> Config[VirtualService] | None:
        """The VirtualService of gateway `mesh` that governs a host, from the first listener.

        The most specific matching host wins, then the oldest (pilot.md F1).
        """
        found = (each.virtual_service(host) for each in self.egress)
        return next((each for each in found if each is not None), None)

    def endpoints(self, service: ServiceKey) -> Sequence[Endpoint]:
        """Endpoints of a service, sorted by address; of every health, cluster and network."""
        self._reads.note(memo.ENDPOINTS, service)
        return self._index.endpoints.get(service, ())

    def identities(self, service: ServiceKey) -> Identities:
        """Who may answer for a service; changes less often than its endpoints."""
        self._reads.note(memo.IDENTITIES, service)
        return self._index.identities.get(service, NOBODY)

    def services_at(self, address: str) -> Sequence[ServiceKey]:
        """Services that have an endpoint at an IP address, sorted."""
        self._reads.note(memo.ADDRESS, address)
        return self._index.at_address.get(address, ())

    def owned_services(self, namespace: str) -> Sequence[Service]:
        """All services that a namespace owns, visible or not, sorted by host."""
        self._reads.note(memo.NAMESPACE, namespace)
        return [
            each
            for host in self._index.hosts_in_namespace.get(namespace, ())
            for each in self._index.services[host]
            if each.namespace == namespace
        ]

    @property
    def network_gateways(self) -> Mapping[str, Sequence[ServiceKey]]:
        """Services that are ways into a network, visible or not, by its name (pilot.md D8)."""
        self._reads.note(memo.NETWORK_GATEWAYS)
        return self._index.network_gateways

    def services_of(self, host: str) -> Sequence[Service]:
        """Services of a host in all namespaces, visible or not, the preferred first (D4)."""
        self._reads.note(memo.SERVICE, host)
        return self._index.services.get(host, ())

    def owned_service(self, service: ServiceKey) -> Service | None:
        """A service by its name in the mesh, visible or not."""
        self._reads.note(memo.SERVICE, service.host)
        found = self._index.services.get(service.host, ())
        return next((each for each in found if each.namespace == service.namespace), None)

    def workloads_at(self, address: str) -> Sequence[Workload]:
        """Registered workloads at an IP address, oldest first."""
        self._reads.note(memo.WORKLOAD, address)
        return self._index.workloads_at.get(address, ())

    # Configuration

    def configs(self, collection: str, namespace: str) -> Sequence[Config[Any]]:
        """Objects of a collection in a namespace, oldest first, whatever their `exportTo`."""
        self._note_configs(collection, namespace)
        return self._index.configs.get((collection, namespace), ())

    def settling(self, namespace: str) -> Step | None:
        """How far a change of policies about mutual TLS is in a namespace; None without one."""
        self._reads.note(memo.SETTLING, namespace)
        return self._index.settling.get(namespace)

    def config(self, collection: str, namespace: str, name: str) -> Config[Any] | None:
        """One object by its name, whatever its `exportTo`."""
        every = self.configs(collection, namespace)
        return next((each for each in every if each.meta.name == name), None)

    def secret(self, namespace: str, name: str) -> Credential | None:
        """What a Secret holds; whoever asks sees to it that it may be asked for."""
        self._reads.note(memo.CREDENTIAL, (namespace, name))
        return self._index.secrets.get((namespace, name))

    def public_keys(self, source: KeySource) -> PublicKeys:
        """What an issuer of tokens publishes, as far as it was fetched."""
        self._reads.note(memo.PUBLIC_KEYS, source)
        return self._index.public_keys.get(source, NOT_FETCHED)

    def policies(self, collection: str) -> Sequence[Config[Any]]:
        """Objects of the root namespace, then of the own, each oldest first (pilot.md B23)."""
        root = self.mesh.root_namespace
        own = () if self.namespace == root else self.configs(collection, self.namespace)
        return [*self.configs(collection, root), *own]

    def visible(self, collection: str) -> Sequence[Config[Any]]:
        """Objects of all namespaces whose `exportTo` lets the proxies see them, oldest first."""
        self._reads.note(collection)
        every = self._index.collections.get(collection, ())
        return [each for each in every if each.visible_to.includes(self.namespace)]

    def gateway_virtual_services(self, gateway: str) -> Sequence[Config[VirtualService]]:
        """Visible VirtualServices of a gateway, "mesh" or "NAMESPACE/NAME", oldest first."""
        self._reads.note(memo.GATEWAY, gateway)
        every = self._index.by_gateway.get(gateway, ())
        return [each for each in every if each.visible_to.includes(self.namespace)]

    def destination_rules(self, host: str) -> Iterator[Sequence[Config[DestinationRule]]]:
        """Rules whose host covers the given one, grouped by that host, the most specific first.

        Within a group oldest first, whatever their `exportTo`.
        """
        self._reads.note(memo.DESTINATION_RULE, host)
        self._reads.note(memo.DESTINATION_RULE, ANY_WILDCARD)
        for pattern in dict.fromkeys((host, *hosts.wildcards_over(host))):
            if (found := self._index.destination_rules.get(pattern)) is not None:
                yield found

    @property
    def selector_keys(self) -> frozenset[str]:
        """Labels of callers that outbound configuration may depend on."""
        self._reads.note(memo.SELECTOR_KEYS)
        return self._index.selector_keys

    @property
    def by_node(self) -> bool:
        """Some service wants callers on different nodes told apart."""
        self._reads.note(memo.SELECTOR_KEYS)
        return self._index.by_node

    def _note_configs(self, collection: str, namespace: str) -> None:
        self._reads.note(collection, namespace)


def applicable_sidecar(scope: Scope, labels: Labels) -> Config[Sidecar] | None:
    """The Sidecar of proxies with these labels in the scope's namespace (pilot.md D11).

    The oldest whose selector matches, else the oldest of the namespace without selector, else that
    of the root namespace.
    """
    own = scope.configs(collection_names.SIDECARS, scope.namespace)
    root = scope.configs(collection_names.SIDECARS, scope.mesh.root_namespace)
    selecting = (
        each
        for each in own
        if each.spec.workload_selector.labels
        and selects(each.spec.workload_selector.labels, labels)
    )
    general = (each for each in (*own, *root) if not each.spec.workload_selector.labels)
    return next(selecting, next(general, None))


def _selected_egress(scope: Scope) -> Sequence[SelectedEgress]:
    sidecar = scope.sidecar
    listeners = sidecar.spec.egress if sidecar is not None else ()
    with_port_first = sorted(listeners, key=lambda each: not each.port.number)
    everything = scope._everything  # noqa: SLF001 - the same room
    return tuple(selected(each, scope.namespace, everything) for each in with_port_first)
