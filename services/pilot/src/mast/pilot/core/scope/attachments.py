"""Which policies are for a workload: `selector`, `targetRef` and `targetRefs` (pilot.md B23)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mast.pilot.core.model.model import Config, selects
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of the proxies that a Gateway of the Gateway API stands for."""

_GATEWAY: Final = ("gateway.networking.k8s.io", "Gateway")


def attached(config: Config[Any], proxy: Proxy) -> bool:
    """Whether a policy that the proxy sees is for it.

    A policy with targets is for the proxies of the Gateways that it names in its own namespace;
    Services are targets for waypoints only.
    """
    targets = _targets(config.spec)
    if not targets:
        return selects(config.spec.selector.match_labels, proxy.labels)
    name = proxy.labels.get(GATEWAY_NAME)
    return config.meta.namespace == proxy.namespace and any(
        (each.group, each.kind, each.name) == (*_GATEWAY, name) for each in targets
    )


def is_general(config: Config[Any]) -> bool:
    """Whether a policy is for everybody in its namespace."""
    return not config.spec.selector.match_labels and not _targets(config.spec)


def by_level(scope: Scope, collection: str, proxy: Proxy) -> Iterator[Config[Any]]:
    """The policies that hold for a proxy where one of each level does: the oldest (pilot.md K5).

    That of the root namespace, that of its own, and that which selects it in its own; selectors
    in the root namespace are for the workloads there.
    """
    root = scope.mesh.root_namespace
    own = scope.configs(collection, proxy.namespace)
    for level in ([] if proxy.namespace == root else [scope.configs(collection, root)]) + [own]:
        yield from _first(each for each in level if is_general(each))
    yield from _first(each for each in own if not is_general(each) and attached(each, proxy))


def _first(found: Iterator[Config[Any]]) -> Iterator[Config[Any]]:
    for each in found:
        yield each
        return


def _targets(spec: Any) -> Sequence[Any]:
    fields = spec.DESCRIPTOR.fields_by_name
    if "targetRefs" in fields and spec.targetRefs:
        return tuple(spec.targetRefs)
    if "targetRef" in fields and spec.HasField("targetRef"):
        return (spec.targetRef,)
    return ()
