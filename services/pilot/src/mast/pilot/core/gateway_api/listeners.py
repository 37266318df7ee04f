"""Listeners of Gateway API Gateways, as routes see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mast.pilot.core.gateway_api.conditions import Condition, Problem
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import ConfigMeta, Labels
from mastapi.kubernetes.v1.gateway_pb2 import Listener, RouteNamespaces
from mastapi.kubernetes.v1.meta_pb2 import LabelSelector

EVERY_HOST: Final = "*"
PLAIN_HTTP: Final = "HTTP"
HTTP_ROUTES: Final = ("HTTPRoute", "GRPCRoute")

_FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "HTTP": HTTP_ROUTES,
    "HTTPS": HTTP_ROUTES,
    "TCP": ("TCPRoute",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerView:
    """One listener after translation.

    `gateway` is the "NAMESPACE/NAME" of the Istio Gateway that serves it, empty if none does;
    `kinds` are the kinds of routes that it takes; `problems` are why it is not accepted.
    """

    listener: Listener
    gateway: str
    kinds: tuple[str, ...]
    conditions: tuple[Condition, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def host(self) -> str:
        """The host it listens for, `*` for all."""
        return self.listener.hostname or EVERY_HOST

    def yields_to(self, other: "ListenerView") -> bool:
        """Hosts of the other listener are not for this one: it is narrower (listener isolation).

        Of plain HTTP only: TLS is told apart by its server names.
        """
        mine, theirs = self.listener, other.listener
        return (
            bool(other.gateway)
            and mine.protocol == theirs.protocol == PLAIN_HTTP
            and mine.port == theirs.port
            and self.host.lower() != other.host.lower()
            and hosts.matches(self.host, other.host)
        )

    def admits(self, namespace: str, own: str, labels: Labels) -> bool:
        """Whether routes of a namespace with those labels may attach; `own` is the Gateway's."""
        wanted: RouteNamespaces = self.listener.allowed_routes.namespaces
        match getattr(wanted, "from") or "Same":
            case "All":
                return True
            case "Selector":
                return matches_labels(wanted.selector, labels)
            case _:
                return namespace == own


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """A Gateway of one of our classes, after translation."""

    meta: ConfigMeta
    listeners: tuple[ListenerView, ...]
    conditions: tuple[Condition, ...]
    addresses: tuple[str, ...] = ()


def fitting_kinds(listener: Listener) -> tuple[str, ...]:
    """Kinds of routes that fit a protocol (Gateway API, "supportedKinds")."""
    if listener.protocol == "TLS":
        return ("TLSRoute",) if listener.tls.mode == "Passthrough" else ("TCPRoute",)
    return _FITTING.get(listener.protocol, ())


def common_host(one: str, other: str) -> str:
    """The narrower of two hosts that overlap, empty if they do not (Gateway API, "hostname")."""
    if hosts.matches(one, other):
        return other
    return one if hosts.matches(other, one) else ""


def matches_labels(selector: LabelSelector, labels: Labels) -> bool:
    """Whether labels fulfil a selector (Kubernetes LabelSelector); an empty one takes all."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for each in selector.match_expressions:
        value = labels.get(each.key)
        holds = {
            "In": value in each.values,
            "NotIn": value not in each.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(each.operator, False):
            return False
    return True
