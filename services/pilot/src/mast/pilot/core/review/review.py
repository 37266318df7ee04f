"""The review of all configuration: what is found is kept until something that matters changes."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config, ServiceKey
from mast.pilot.core.review import destination_rules, services, single_objects, virtual_services
from mast.pilot.core.scope.memo import Memo, Reads
from mast.pilot.core.scope.scope import Scope

Check = Callable[[Config[Any], Scope], Iterable[Finding]]

_CHECKS: Final[Mapping[str, Check]] = {
    collection_names.VIRTUAL_SERVICES: virtual_services.findings,
    collection_names.DESTINATION_RULES: destination_rules.findings,
    collection_names.SERVICE_ENTRIES: services.findings,
    collection_names.SIDECARS: single_objects.findings,
    collection_names.PEER_AUTHENTICATIONS: single_objects.findings,
}


def review(index: Index, results: Memo) -> None:
    """Look at every object of which something changed; findings are kept with the results.

    An object is looked at as proxies of its own namespace see the mesh, without Sidecar.
    """
    for collection, namespace in index.configs:
        if collection in _CHECKS:
            build = partial(_reviewed, index, results, collection, namespace)
            results.get(("review", collection, namespace), index.generation, None, build)
    for key in index.endpoints:
        build = partial(_inhabited, index, results, key)
        results.get(("review endpoints", key), index.generation, None, build)


def _reviewed(index: Index, results: Memo, collection: str, namespace: str, reads: Reads) -> None:
    """All objects of a collection in a namespace, of which those are kept that did not change."""
    scope = Scope(index, results, reads, namespace)
    for config in scope.configs(collection, namespace):
        scope.cached(("review", config), partial(_checked, _CHECKS[collection], config))


def _checked(check: Check, config: Config[Any], scope: Scope) -> None:
    for each in check(config, scope):
        scope.report(each)


def _inhabited(index: Index, results: Memo, key: ServiceKey, reads: Reads) -> None:
    scope = Scope(index, results, reads, key.namespace)
    for each in services.uninhabited(key, scope):
        scope.report(each)
