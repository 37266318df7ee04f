"""Gateway API and Ingress objects kept translated while they, and what they name, change.

In stages, each of which redoes only what depends on a change: Gateways become listeners, routes
attach to them, rules of several routes for one host are merged; policies and Ingresses stand apart.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common.credentials import Credential
from mast.pilot.core.gateway_api.backend_tls import (
    TranslatedPolicies,
    targets,
    translated_policies,
)
from mast.pilot.core.gateway_api.conditions import CONTROLLER
from mast.pilot.core.gateway_api.gateways import TranslatedGateway, translated_gateway
from mast.pilot.core.gateway_api.ingresses import (
    TranslatedIngress,
    merged_host,
    translated_ingress,
)
from mast.pilot.core.gateway_api.merging import Group, merged
from mast.pilot.core.gateway_api.routes import ROUTES, TranslatedRoute, translated_route
from mast.pilot.core.gateway_api.sight import GATEWAY_VIEW, Material, Name, Sight
from mast.pilot.core.gateway_api.stages import Stage
from mast.pilot.core.gateway_api.status import Key, Translation
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Config, Service
from mast.pilot.core.scope.memo import Fact

COLLECTIONS: Final = frozenset(
    {
        *ROUTES,
        collection_names.API_GATEWAYS,
        collection_names.BACKEND_TLS_POLICIES,
        collection_names.CONFIG_MAPS,
        collection_names.GATEWAY_CLASSES,
        collection_names.INGRESSES,
        collection_names.INGRESS_CLASSES,
        collection_names.NAMESPACES,
        collection_names.REFERENCE_GRANTS,
        collection_names.SERVICE_ENTRIES,
    }
)
"""Collections whose objects a translator has to be given."""

_GROUP: Final = "route group"
_TARGET: Final = "backend tls target"
_INGRESS_HOST: Final = "ingress host"
"""Kinds of facts by which stages tell the next ones what is stale."""


class Translator:
    """The only writer of the translation; `settle` returns what changed in it.

    `domain` is the DNS suffix of Kubernetes services. Lives on the thread of the world.
    """

    def __init__(self, domain: str) -> None:
        self._material = Material(domain=domain)
        self._touched: set[Fact] = set()
        self._members: dict[Group, set[Key]] = defaultdict(set)
        self._policies_of: dict[Name, set[Name]] = defaultdict(set)
        self._ingresses_of: dict[str, set[Name]] = defaultdict(set)
        self._owners: dict[Key, Hashable] = {}
        self._changed: dict[Key, Config[Any] | None] = {}
        self._translation: Translation | None = None

        self._gateways = Stage(collection_names.API_GATEWAYS, _gateway)
        self._routes = {each: Stage(each, partial(_route, each)) for each in ROUTES}
        self._groups: Stage[Group, Config[VirtualService]] = Stage(_GROUP, self._merged)
        self._policies: Stage[Name, TranslatedPolicies] = Stage(_TARGET, self._of_target)
        self._ingresses = Stage(collection_names.INGRESSES, _ingress)
        self._hosts: Stage[str, Config[VirtualService]] = Stage(_INGRESS_HOST, self._of_host)

    def put(self, collection: str, namespace: str, name: str, config: Config[Any] | None) -> None:
        """An object as it is now, None if it is gone; collections that do not count are ignored."""
        if collection not in COLLECTIONS:
            return
        self._translation = None
        key = (namespace, name)
        objects = self._material.objects.setdefault(collection, {})
        old = objects.pop(key, None)
        if config is not None:
            objects[key] = config
        if collection == collection_names.REFERENCE_GRANTS:
            self._put_grant(key, config)
        elif collection == collection_names.BACKEND_TLS_POLICIES:
            self._put_policy(key, old, config)
        self._touched.add(Fact(collection, key))

    def settle(
        self,
        services: Mapping[str, Sequence[Service]],
        mesh: Mesh,
        touched: Iterable[Fact],
        secrets: Mapping[Name, Credential] | None = None,
    ) -> Mapping[Key, Config[Any] | None]:
        """Istio's objects that changed since the last call, None for those that are gone.

        `services`, `mesh` and `secrets` are what they are now, `touched` which facts of them
        changed; None stands for Secrets that are not known.
        """
        self._material.secrets = secrets
        self._material.services = services
        self._material.mesh = mesh
        facts = self._touched.union(touched)
        self._touched = set()
        before = self._made
        facts |= self._settle_gateways(facts)
        facts |= self._settle_routes(facts)
        facts |= self._settle_ingresses(facts)
        for group in self._groups.settle(self._material, facts):
            self._publish((_GROUP, group.key), _some(group.old), _some(group.new))
        for host in self._hosts.settle(self._material, facts):
            self._publish((_INGRESS_HOST, host.key), _some(host.old), _some(host.new))
        for target in self._policies.settle(self._material, facts):
            old, new = (each.config if each else None for each in (target.old, target.new))
            self._publish((_TARGET, target.key), _some(old), _some(new))
        if self._made != before:
            self._translation = None
        changed, self._changed = self._changed, {}
        return changed

    def translation(self) -> Translation:
        """What has become of the objects, as of the last `settle`; it does not change any more."""
        if self._translation is None:
            self._translation = self._collected()
        return self._translation

    @property
    def _made(self) -> int:
        """How often any translation that a status tells of was made anew."""
        others = self._gateways.made + self._policies.made + self._ingresses.made
        return others + sum(each.made for each in self._routes.values())

    def _collected(self) -> Translation:
        classes = self._material.objects.get(collection_names.GATEWAY_CLASSES, {})
        return Translation(
            classes=[
                each.meta for each in classes.values() if each.spec.controller_name == CONTROLLER
            ],
            gateways=dict(self._gateways.results),
            routes={
                (collection, *name): route
                for collection, stage in self._routes.items()
                for name, route in stage.results.items()
            },
            policies=dict(self._policies.results),
            ingresses=dict(self._ingresses.results),
        )

    # Stages

    def _settle_gateways(self, facts: set[Fact]) -> set[Fact]:
        """Translate Gateways; routes are stale if the listeners that they see have changed."""
        stale = set()
        for name, old, new in self._gateways.settle(self._material, facts):
            if new is None:
                self._material.views.pop(name, None)
            else:
                self._material.views[name] = new.view
            self._publish(
                (collection_names.API_GATEWAYS, name),
                old.configs if old else (),
                new.configs if new else (),
            )
            if (old.view if old else None) != (new.view if new else None):
                stale.add(Fact(GATEWAY_VIEW, name))
        return stale

    def _settle_routes(self, facts: set[Fact]) -> set[Fact]:
        """Translate routes; the hosts for which they have, or had, rules are stale."""
        stale = set()
        for collection, stage in self._routes.items():
            for name, old, new in stage.settle(self._material, facts):
                if old == new:
                    continue
                key = (collection, *name)
                for route, change in ((old, set.discard), (new, set.add)):
                    for place in route.places if route else ():
                        change(self._members[Group.of(place)], key)
                        stale.add(Fact(_GROUP, Group.of(place)))
                self._publish(key, old.configs if old else (), new.configs if new else ())
        return stale

    def _settle_ingresses(self, facts: set[Fact]) -> set[Fact]:
        """Translate Ingresses; their hosts are stale."""
        stale = set()
        for name, old, new in self._ingresses.settle(self._material, facts):
            for ingress, change in ((old, set.discard), (new, set.add)):
                for host in ingress.rules if ingress else ():
                    change(self._ingresses_of[host], name)
                    stale.add(Fact(_INGRESS_HOST, host))
            self._publish(
                (collection_names.INGRESSES, name),
                [old.gateway] if old else [],
                [new.gateway] if new else [],
            )
        return stale

    def _merged(self, _sight: Sight, group: Group) -> Config[VirtualService] | None:
        members = self._members[group]
        if not members:
            del self._members[group]
            return None
        return merged(
            group, [self._routes[each[0]].results[each[1], each[2]] for each in sorted(members)]
        )

    def _of_host(self, _sight: Sight, host: str) -> Config[VirtualService] | None:
        names = self._ingresses_of[host]
        if not names:
            del self._ingresses_of[host]
            return None
        return merged_host(host, [self._ingresses.results[each] for each in sorted(names)])

    def _of_target(self, sight: Sight, target: Name) -> TranslatedPolicies | None:
        names = self._policies_of[target]
        if not names:
            del self._policies_of[target]
            return None
        objects = self._material.objects[collection_names.BACKEND_TLS_POLICIES]
        return translated_policies(sight, target, [objects[each] for each in sorted(names)])

    # Bookkeeping

    def _put_grant(self, name: Name, config: Config[Any] | None) -> None:
        """Who asks for a grant asks a namespace for all of its grants."""
        grants = self._material.grants.setdefault(name[0], {})
        grants.pop(name, None)
        if config is not None:
            grants[name] = config
        self._touched.add(Fact(collection_names.REFERENCE_GRANTS, name[0]))

    def _put_policy(self, name: Name, old: Config[Any] | None, new: Config[Any] | None) -> None:
        for config, change in ((old, set.discard), (new, set.add)):
            for target in targets(config) if config else ():
                change(self._policies_of[target], name)
                self._touched.add(Fact(_TARGET, target))

    def _publish(
        self, owner: Hashable, old: Sequence[Config[Any]], new: Sequence[Config[Any]]
    ) -> None:
        """Put a translation's objects in the place of those that it had before.

        An object's name may pass from one owner to another: only its last owner takes it away.
        """
        before = {_key(each): each for each in old}
        after = {_key(each): each for each in new}
        for key in before.keys() - after.keys():
            if self._owners.get(key) == owner:
                del self._owners[key]
                self._changed[key] = None
        for key, config in after.items():
            known = before.get(key) if self._owners.get(key) == owner else None
            self._owners[key] = owner
            if known is None or not _same(known, config):
                self._changed[key] = config


def _gateway(sight: Sight, name: Name) -> TranslatedGateway | None:
    config = sight.object(collection_names.API_GATEWAYS, name)
    return translated_gateway(sight, config) if config else None


def _route(collection: str, sight: Sight, name: Name) -> TranslatedRoute | None:
    config = sight.object(collection, name)
    return translated_route(sight, config) if config else None


def _ingress(sight: Sight, name: Name) -> TranslatedIngress | None:
    config = sight.object(collection_names.INGRESSES, name)
    return translated_ingress(sight, config) if config else None


def _key(config: Config[Any]) -> Key:
    return config.meta.collection, config.meta.namespace, config.meta.name


def _same(one: Config[Any], other: Config[Any]) -> bool:
    return (one.meta, one.spec, one.visible_to) == (other.meta, other.spec, other.visible_to)


def _some(config: Config[Any] | None) -> Sequence[Config[Any]]:
    return [] if config is None else [config]
