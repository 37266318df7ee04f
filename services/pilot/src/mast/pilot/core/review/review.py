"""The review of all configuration: what is found is kept until something that matters changes."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config, ServiceKey
from mast.pilot.core.review import (
    destination_rules,
    old_policies,
    peer_authentications,
    services,
    single_objects,
    token_keys,
    virtual_services,
)
from mast.pilot.core.scope.memo import Memo, Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication import sources

Check = Callable[[Config[Any], Scope], Iterable[Finding]]

CHUNK: Final = 20
"""Objects that are looked at in one step."""

_OBJECTS: Final = "review"
_ENDPOINTS: Final = "review endpoints"
REVIEWS: Final = frozenset({_OBJECTS, _ENDPOINTS})
"""How the keys of kept reviews begin."""

_CHECKS: Final[Mapping[str, Check]] = {
    collection_names.VIRTUAL_SERVICES: virtual_services.findings,
    collection_names.DESTINATION_RULES: destination_rules.findings,
    collection_names.SERVICE_ENTRIES: services.findings,
    collection_names.SIDECARS: single_objects.findings,
    collection_names.PEER_AUTHENTICATIONS: peer_authentications.findings,
    **dict.fromkeys(sources.COLLECTIONS, token_keys.findings),
    collection_names.POLICIES: old_policies.policies,
    collection_names.RBAC_CONFIGS: old_policies.switches,
    collection_names.TELEMETRIES: single_objects.findings,
}


@dataclass(frozen=True)
class Review:
    """A look at everything of which something changed; findings are kept with the results.

    An object is looked at as proxies of its own namespace see the mesh, without Sidecar.
    """

    index: Index
    results: Memo

    def steps(self) -> Iterator[Callable[[], None]]:
        """What is left to do, in steps that are short however large the mesh is.

        They have to be taken in order, on the thread of the memo, before the index changes.
        """
        for collection, namespace in self.index.configs:
            key = (_OBJECTS, collection, namespace)
            if collection in _CHECKS and not self.results.holds(key):
                configs = self.index.configs[collection, namespace]
                for start in range(0, len(configs), CHUNK):
                    yield partial(self._look, namespace, configs[start : start + CHUNK])
                yield partial(self._keep, key, partial(self._reviewed, collection, namespace))
        for service in self.index.endpoints:
            key = (_ENDPOINTS, *service)
            if not self.results.holds(key):
                yield partial(self._keep, key, partial(self._inhabited, service))

    def _keep(self, key: Hashable, build: Callable[[Reads], None]) -> None:
        self.results.get(key, self.index.generation, None, build)

    def _scope(self, namespace: str, reads: Reads) -> Scope:
        return Scope(self.index, self.results, reads, namespace)

    def _look(self, namespace: str, configs: Sequence[Config[Any]]) -> None:
        """Look at objects of a namespace, unless that was done since anything changed."""
        scope = self._scope(namespace, Reads())
        for each in configs:
            scope.cached(("review", each), partial(_checked, each))

    def _reviewed(self, collection: str, namespace: str, reads: Reads) -> None:
        """All objects of a collection in a namespace, already looked at."""
        scope = self._scope(namespace, reads)
        for each in scope.configs(collection, namespace):
            scope.cached(("review", each), partial(_checked, each))

    def _inhabited(self, service: ServiceKey, reads: Reads) -> None:
        scope = self._scope(service.namespace, reads)
        for each in services.uninhabited(service, scope):
            scope.report(each)


def _checked(config: Config[Any], scope: Scope) -> None:
    for each in _CHECKS[config.meta.collection](config, scope):
        scope.report(each)
