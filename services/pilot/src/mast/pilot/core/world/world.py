"""The mutable state of the mesh: fed with changes of the store, it gives immutable snapshots."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Protocol

from istio.mesh.v1alpha1.network_pb2 import MeshNetworks
from mast.common import keys
from mast.common.credentials import Credential, credential
from mast.pilot.core.filters.extensions import ExtensionsOf
from mast.pilot.core.gateway_api.translator import Translator
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.model import collection_names, decoding, settling
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.mesh import DOMAIN, Mesh, complete
from mast.pilot.core.model.model import TRAFFIC_DISTRIBUTION, Config, Service, visibility
from mast.pilot.core.model.public_keys import (
    KeyFetching,
    KeySource,
    PublicKeys,
    public_keys,
    source_of,
)
from mast.pilot.core.model.service_entries import (
    Contribution,
    from_registry,
    from_registry_workload,
    from_service_entry,
    from_workload_entry,
)
from mast.pilot.core.model.settling import Settling
from mast.pilot.core.model.table import Table
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.catalog import Catalog, Cataloged
from mast.pilot.core.scope.memo import Fact, Memo, Reads
from mast.pilot.core.scope.registry import Registry
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.originals import Originals
from mast.pilot.core.world.snapshot import MeshSnapshot
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from mastapi.registry.v1 import registry_pb2 as registry
from mastapi.trust.v1.trust_pb2 import TrustBundle

PREFIXES: Final = (
    keys.CONFIG,
    keys.REGISTRY_SERVICES,
    keys.REGISTRY_WORKLOADS,
    keys.REGISTRY_ENDPOINTS,
    keys.TRUST,
    keys.SECRETS,
    keys.JWKS,
)
"""What a world has to be fed with."""


class Change(Protocol):
    """A key of the store and its value now, None if it was deleted."""

    @property
    def key(self) -> str:
        """Relative to the root of the store."""

    @property
    def value(self) -> bytes | None:
        """The bytes now stored."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A stored value that is kept out; what the key held before still holds."""

    key: str
    reason: str


class World:
    """Everything Pilot knows, one object per store key; the only writer of the indexes.

    `domain` is the DNS suffix of Kubernetes services; `extensions` add the filters of a policy
    engine, as the mesh settings want them; `sealing_key` opens Secrets; with `quic` gateways speak
    HTTP/3; `key_fetching` says who fetches the keys of issuers. `gradual` changes of policies about
    mutual TLS go on by `proceed`.
    Lives on one thread, together with the views of its snapshots.
    """

    def __init__(
        self,
        domain: str = DOMAIN,
        extensions: ExtensionsOf = MixerExtensions,
        *,
        sealing_key: bytes | None = None,
        quic: bool = False,
        key_fetching: KeyFetching = KeyFetching.PILOT,
        gradual: bool = False,
    ) -> None:
        self._domain = domain
        self._sealing_key = sealing_key
        self._extensions = extensions
        self._objects: dict[str, Any] = {}
        self._rejected: dict[str, str] = {}
        self._told: dict[str, int] = {}
        self._registry = Registry()
        self._catalog = Catalog(domain)
        self._translator = Translator(domain)
        self._trust: Table[str, TrustBundle] = Table()
        self._secrets: Table[tuple[str, str], Credential] = Table()
        self._public_keys: Table[KeySource, PublicKeys] = Table()
        self._mesh = Mesh(domain=domain, quic=quic, key_fetching=key_fetching)
        self._mesh_stale = False
        self._gradual = gradual
        self._settling: Settling = {}
        self._touched: set[Fact] = set()
        self._results = Memo()
        self._originals = Originals()
        self._snapshot = self._at(0, Index(mesh=self._mesh))

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why the value now stored under a key is kept out, by key."""
        return MappingProxyType(self._rejected)

    def apply(self, changes: Iterable[Change]) -> Sequence[Rejection]:
        """Take changes over; returns those of them that are kept out.

        A value that cannot be decoded changes nothing but `rejected`: the last good one holds.
        """
        rejections = []
        for change in changes:
            self._note(change)
            try:
                self._take_over(change.key, change.value)
            except ValueError as error:
                self._rejected[change.key] = str(error)
                rejections.append(Rejection(change.key, str(error)))
            else:
                self._rejected.pop(change.key, None)
        return rejections

    def _note(self, change: Change) -> None:
        if change.value is None:
            self._told.pop(change.key, None)
        else:
            self._told[change.key] = hash(change.value)

    def differing(self, entries: Iterable[tuple[str, bytes]]) -> Sequence[str]:
        """Keys of which the world was told another value last (pilot.md N6)."""
        return [key for key, value in entries if self._told.get(key) != hash(value)]

    def besides(self, prefix: str, keys: Set[str]) -> Sequence[str]:
        """Keys under a prefix that the world has and that are not among the given ones."""
        return [key for key in self._told if key.startswith(prefix) and key not in keys]

    def among(self, keys: Iterable[str]) -> Sequence[str]:
        """Those of the keys that the world has."""
        return [key for key in keys if key in self._told]

    def snapshot(self, revision: int = 0) -> MeshSnapshot:
        """The mesh as it is now; `revision` is that of the store up to which changes are in.

        It shares with the snapshot before all that did not change.
        """
        if self._mesh_stale:
            self._settle_mesh()
        touched = self._touched | self._registry.settle()
        self._touched = set()
        self._translate(touched)
        touched |= self._catalog.settle()
        before = self._snapshot
        touched |= self._unsettled(before.index, touched)
        if not touched:
            self._snapshot = replace(before, revision=revision)
            return self._snapshot
        index = self._index(before.index, touched)
        if index.standalone_hosts != before.index.standalone_hosts:
            touched.add(Fact(memo.STANDALONE_HOSTS))
        self._results.advance(index.generation, touched)
        self._results.advance(index.generation, self._differing_egress(index))
        self._snapshot = self._at(revision, index)
        return self._snapshot

    def proceed(self) -> None:
        """Go on to the next step of changes of policies about mutual TLS; if there are any."""
        self._touched |= {Fact(memo.SETTLING, place) for place in self._settling}
        self._settling = settling.advanced(self._settling)

    def _unsettled(self, before: Index, touched: Iterable[Fact]) -> Set[Fact]:
        """Keep what was in force where policies about mutual TLS change."""
        places = {str(fact.name) for fact in touched if fact.kind in settling.COLLECTIONS}
        if not (self._gradual and before.generation and places):
            return set()
        old: dict[str, settling.Policies] = {
            place: {
                each: before.configs[each, place]
                for each in settling.COLLECTIONS
                if (each, place) in before.configs
            }
            for place in places
        }
        self._settling = settling.changed(self._settling, old)
        return {Fact(memo.SETTLING, place) for place in places}

    def _translate(self, touched: Iterable[Fact]) -> None:
        """Put into the catalog what Gateway API and Ingress objects stand for (pilot.md I7, I8)."""
        services = self._registry.snapshot().services
        secrets = self._secrets.snapshot() if self._sealing_key else None
        made = self._translator.settle(services, self._mesh, touched, secrets)
        for (collection, namespace, name), config in made.items():
            self._catalog.put(collection, namespace, name, config)

    def _differing_egress(self, index: Index) -> Set[Fact]:
        """What Sidecars show that differs from before; little of what they select from does."""
        touched: set[Fact] = set()
        for (_, key), old in self._results.lost():
            scope = Scope(index, self._results, Reads(), key.namespace)
            where = (collection_names.SIDECARS, key.sidecar_namespace, key.sidecar)
            if (sidecar := scope.config(*where)) is not None:
                touched |= set(scope.under(sidecar).differing_egress(old))
        return touched

    def _at(self, revision: int, index: Index) -> MeshSnapshot:
        return MeshSnapshot(
            revision,
            index,
            self._results,
            self._originals,
            self._extensions,
            self._translator.translation(),
        )

    def _take_over(self, key: str, value: bytes | None) -> None:
        """Put the object under a key in place of the old one; ValueError changes nothing."""
        old = self._objects.get(key)
        new = None if value is None else decoding.decoded(key, value, self._sealing_key)
        if old is None and new is None:
            return
        self._put(key, old, new)
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new

    def _index(self, before: Index, touched: Iterable[Fact]) -> Index:
        registered = self._registry.snapshot()
        cataloged = self._catalog.snapshot()
        standalone = before.standalone_hosts
        if any(fact.kind in {memo.SERVICE, memo.VIRTUAL_SERVICE} for fact in touched):
            standalone = _standalone_hosts(cataloged, registered.services)
        return Index(
            generation=before.generation + 1,
            mesh=self._mesh,
            services=registered.services,
            hosts=registered.hosts,
            hosts_on_port=registered.hosts_on_port,
            hosts_in_namespace=registered.hosts_in_namespace,
            endpoints=registered.endpoints,
            identities=registered.identities,
            at_address=registered.at_address,
            workloads_at=registered.workloads_at,
            network_gateways=registered.network_gateways,
            virtual_services=cataloged.virtual_services,
            by_gateway=cataloged.by_gateway,
            standalone_hosts=standalone,
            destination_rules=cataloged.destination_rules,
            configs=cataloged.configs,
            collections=cataloged.collections,
            selector_keys=cataloged.selector_keys,
            by_node=registered.by_node,
            settling=self._settling,
            trust=self._trust.snapshot(),
            public_keys=self._public_keys.snapshot(),
            secrets=self._secrets.snapshot(),
        )

    def _put(self, key: str, old: Any, new: Any) -> None:
        """Hand an object to the part of the world that keeps it."""
        match new if new is not None else old:
            case Config():
                self._put_config(key, old, new)
            case registry.Service():
                contributions: Sequence[Contribution] = ()
                if new is not None:
                    default = self._mesh.config.default_service_export_to
                    contributions = (from_registry(new, default),)
                self._registry.put_services(key, contributions)
            case registry.Workload():
                workload = None if new is None else from_registry_workload(key, new)
                self._registry.put_workload(key, workload)
            case registry.EndpointShard():
                self._registry.put_shard(key, new)
            case PublishedKeys():
                self._put_public_keys(old, new)
            case _:
                for bundle in (old, new):
                    if bundle is not None:
                        self._trust.put(bundle.trust_domain, new if bundle is new else None)
                        self._touched.add(Fact(memo.TRUST, bundle.trust_domain))

    def _put_public_keys(self, old: PublishedKeys | None, new: PublishedKeys | None) -> None:
        """What an issuer publishes; nothing changes when it is only fetched again."""
        before = None if old is None else public_keys(old)
        now = None if new is None else public_keys(new)
        for record in (old, new):
            if record is not None and before != now:
                source = source_of(record)
                self._public_keys.put(source, now if record is new else None)
                self._touched.add(Fact(memo.PUBLIC_KEYS, source))

    def _put_config(self, key: str, old: Config[Any] | None, new: Config[Any] | None) -> None:
        where = keys.parse_config_key(key)
        if where.collection == collection_names.SECRETS:
            found = None if new is None else credential(new.spec.data)
            self._secrets.put((where.namespace, where.name), found)
            self._touched.add(Fact(memo.CREDENTIAL, (where.namespace, where.name)))
            return
        if new is not None:
            new = replace(new, visible_to=self._visible_to(new))
        match where.collection:
            case collection_names.MESH_CONFIG | collection_names.MESH_NETWORKS:
                self._mesh_stale = True
            case collection_names.SERVICE_ENTRIES:
                contributions: Sequence[Contribution] = ()
                if new is not None:
                    default = self._mesh.config.default_service_export_to
                    contributions = from_service_entry(new, default)
                self._registry.put_services(key, contributions)
            case collection_names.WORKLOAD_ENTRIES:
                workload = None if new is None else from_workload_entry(key, new)
                self._registry.put_workload(key, workload)
            case collection_names.NAMESPACES:
                told = "" if new is None else new.meta.annotations.get(TRAFFIC_DISTRIBUTION, "")
                self._registry.put_distribution(where.name, told)
        self._translator.put(where.collection, where.namespace, where.name, new)
        self._catalog.put(where.collection, where.namespace, where.name, new)

    def _visible_to(self, config: Config[Any]) -> Any:
        """The `exportTo` of an object, with the default that the mesh has for its kind (D7)."""
        defaults = {
            collection_names.SERVICE_ENTRIES: self._mesh.config.default_service_export_to,
            collection_names.VIRTUAL_SERVICES: self._mesh.config.default_virtual_service_export_to,
            collection_names.DESTINATION_RULES: (
                self._mesh.config.default_destination_rule_export_to
            ),
        }
        default = defaults.get(config.meta.collection)
        if default is None:
            return config.visible_to
        return visibility(config.spec.export_to, config.meta.namespace, default)

    def _settle_mesh(self) -> None:
        """Take new mesh settings over, and anew all objects that follow its defaults."""
        self._mesh_stale = False
        config = self._mesh_object(collection_names.MESH_CONFIG)
        networks = self._mesh_object(collection_names.MESH_NETWORKS)
        old = self._mesh
        settings = complete(config)
        self._mesh = replace(old, config=settings, networks=networks or MeshNetworks())
        self._touched.add(Fact(memo.MESH))
        if _export_defaults(old) != _export_defaults(self._mesh):
            for key, each in self._objects.items():
                if isinstance(each, Config | registry.Service):
                    self._put(key, each, each)
            self._mesh_stale = False

    def _mesh_object(self, collection: str) -> Any:
        """Specification of the only object of a mesh-wide kind; the oldest if there are more."""
        found = [
            each
            for each in self._objects.values()
            if isinstance(each, Config) and each.meta.collection == collection
        ]
        return min(found, key=lambda each: each.age).spec if found else None


def _export_defaults(mesh: Mesh) -> Sequence[Sequence[str]]:
    config = mesh.config
    return [
        list(config.default_service_export_to),
        list(config.default_virtual_service_export_to),
        list(config.default_destination_rule_export_to),
    ]


def _standalone_hosts(
    cataloged: Cataloged, services: Mapping[str, Sequence[Service]]
) -> Sequence[str]:
    """Hosts of VirtualServices for which some proxies see no service."""
    return tuple(
        host
        for host in sorted(cataloged.virtual_services)
        if not any(each.visible_to.everyone for each in services.get(host, ()))
    )
