"""Which webhook of the injector a new pod meets: the selectors of both columns of C1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mast.galley.core.injection.decision import IGNORED_NAMESPACES, INJECT
from mast.galley.core.injection.labels import selects

SUFFIX: Final = "sidecar-injector.istio.io"
REVISION: Final = "istio.io/rev"
ENABLED: Final = "istio-injection"
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
DEFAULT_REVISION: Final = "default"

Selector = Mapping[str, Any]


@dataclass(frozen=True)
class Webhook:
    """An entry of a MutatingWebhookConfiguration: its name and its two label selectors."""

    name: str
    namespaces: Selector
    pods: Selector

    def meets(self, namespace: Mapping[str, str], pod: Mapping[str, str]) -> bool:
        """Whether a pod with these labels, in a namespace with those, is sent to it."""
        return selects(self.namespaces, namespace) and selects(self.pods, pod)


def webhooks(revision: str, *, by_default: bool = False) -> tuple[Webhook, ...]:
    """The webhooks of a revision, or of a tag, in their order.

    ``default`` has also those for ``istio-injection`` and, with ``by_default``
    (enableNamespacesByDefault), the one for namespaces that say nothing.
    """
    found = [
        Webhook(
            f"rev.namespace.{SUFFIX}",
            _all(_is(REVISION, revision), _absent(ENABLED)),
            _all(_is_not(INJECT, "false")),
        ),
        Webhook(
            f"rev.object.{SUFFIX}",
            _all(_absent(REVISION), _absent(ENABLED)),
            _all(_is_not(INJECT, "false"), _is(REVISION, revision)),
        ),
    ]
    if revision != DEFAULT_REVISION:
        return tuple(found)
    found += [
        Webhook(
            f"namespace.{SUFFIX}",
            _all(_is(ENABLED, "enabled")),
            _all(_is_not(INJECT, "false")),
        ),
        Webhook(
            f"object.{SUFFIX}",
            _all(_absent(ENABLED), _absent(REVISION)),
            _all(_is(INJECT, "true"), _absent(REVISION)),
        ),
    ]
    if by_default:
        ignored = sorted(IGNORED_NAMESPACES)
        found.append(
            Webhook(
                f"auto.{SUFFIX}",
                _all(_absent(ENABLED), _absent(REVISION), _is_not(NAMESPACE_NAME, *ignored)),
                _all(_absent(INJECT), _absent(REVISION)),
            )
        )
    return tuple(found)


def webhook_of(
    revision: str,
    namespace: Mapping[str, str],
    pod: Mapping[str, str],
    *,
    by_default: bool = False,
) -> str:
    """The name of the webhook that a pod with these labels meets; empty if it meets none."""
    met = (each for each in webhooks(revision, by_default=by_default) if each.meets(namespace, pod))
    return next((each.name for each in met), "")


def _all(*expressions: Selector) -> Selector:
    return {"matchExpressions": list(expressions)}


def _is(key: str, value: str) -> Selector:
    return {"key": key, "operator": "In", "values": [value]}


def _is_not(key: str, *values: str) -> Selector:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _absent(key: str) -> Selector:
    return {"key": key, "operator": "DoesNotExist"}
