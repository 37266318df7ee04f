"""Whether workloads accept, demand or refuse mutual TLS (Istio PeerAuthentication)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from istio.authentication.v1alpha1.policy_pb2 import MutualTls, Policy
from istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, Labels, Port, Service, selects
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.legacy.policies import Configs, Target, default_policy, targets


class Mode(StrEnum):
    """What a server does about mutual TLS."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """What holds for one workload: a mode, and exceptions for ports of the workload."""

    mode: Mode = Mode.PERMISSIVE
    ports: Mapping[int, Mode] = field(default_factory=dict)

    def on(self, port: int) -> Mode:
        """The mode of a port that the workload listens on."""
        return self.ports.get(port, self.mode)


@dataclass(frozen=True, slots=True)
class PeerPolicies:
    """What holds for the workloads of a namespace."""

    default: PeerPolicy
    selecting: Sequence[tuple[Mapping[str, str], PeerPolicy]] = ()
    """Selectors and what they imply, oldest first."""
    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    """Services that policies of Istio 1.0 to 1.4 are for, by host, oldest first (pilot.md J8)."""

    def of(self, labels: Labels) -> PeerPolicy:
        """What holds for a workload with these labels: the oldest policy that selects it."""
        return self._selected(labels) or self.default

    def on(self, labels: Labels, number: int, service: Service | None, port: Port | None) -> Mode:
        """The mode of a workload's port `number`, which is a port of a service if there is one."""
        selected = self._selected(labels)
        if selected is None and service is not None and port is not None:
            for each in self.targets.get(service.host, ()):
                if each.includes(port, labels):
                    return _old_mode(each.config.spec)
        return (selected or self.default).on(number)

    def modes(self, service: Service, port: Port) -> frozenset[Mode]:
        """All that workloads of the namespace may be told to do about a port of a service."""
        return frozenset(self._modes(service, port))

    def _modes(self, service: Service, port: Port) -> Iterator[Mode]:
        for _, each in self.selecting:
            yield from (each.mode, *each.ports.values())
        for target in self.targets.get(service.host, ()):
            if target.includes(port, target.labels):
                yield _old_mode(target.config.spec)
                if not target.labels:
                    return
        yield from (self.default.mode, *self.default.ports.values())

    def _selected(self, labels: Labels) -> PeerPolicy | None:
        for selector, policy in self.selecting:
            if selects(selector, labels):
                return policy
        return None


def served_policy(scope: Scope, namespace: str, labels: Labels) -> PeerPolicy:
    """What a workload with these labels has to do (pilot.md J1).

    Differs from Istio: where it is to begin or to stop taking mutual TLS, it takes both until
    callers had time to follow (see `settling`).
    """
    known = _policies(scope, namespace)
    policy = known.now.of(labels)
    return policy if known.before is known.now else _both(known.before.of(labels), policy)


def served_mode(
    scope: Scope,
    namespace: str,
    labels: Labels,
    number: int,
    service: Service | None,
    port: Port | None,
) -> Mode:
    """The same for one port of a workload, which is a port of a service if there is one."""
    known = _policies(scope, namespace)
    now = known.now.on(labels, number, service, port)
    if known.before is known.now:
        return now
    return _bridge(known.before.on(labels, number, service, port), now)


def called_policies(scope: Scope, namespace: str) -> PeerPolicies:
    """What callers have to expect of the workloads of a namespace (pilot.md G6, H2)."""
    return _policies(scope, namespace).called


@dataclass(frozen=True, slots=True)
class _Known:
    """Policies as they are, as they were until just now, and those that callers go by."""

    now: PeerPolicies
    before: PeerPolicies
    called: PeerPolicies


def _policies(scope: Scope, namespace: str) -> _Known:
    """Those of a namespace, whoever asks.

    Mesh-wide, namespace-wide and selecting policies inherit from each other in that order; of
    several at one level the oldest counts; the root namespace has no selecting ones.
    """
    return scope.shared(("peer policies", namespace), lambda inner: _build(inner, namespace))


def _build(scope: Scope, namespace: str) -> _Known:
    root = scope.mesh.root_namespace
    domain = scope.mesh.domain
    now = _composed(scope.configs, root, namespace, domain)
    steps = {place: scope.settling(place) for place in ("", root, namespace)}
    if not any(steps.values()):
        return _Known(now, now, now)

    def old(collection: str, place: str) -> Sequence[Config[Any]]:
        step = steps[place]
        return scope.configs(collection, place) if step is None else step.before.get(collection, ())

    def heard(collection: str, place: str) -> Sequence[Config[Any]]:
        step = steps[place]
        follows = step is None or step.callers_follow
        return scope.configs(collection, place) if follows else old(collection, place)

    before, called = (_composed(each, root, namespace, domain) for each in (old, heard))
    return _Known(now, before, called)


def _composed(configs: Configs, root: str, namespace: str, domain: str) -> PeerPolicies:
    mode = _old_default(configs(collection_names.MESH_POLICIES, ""), Mode.PERMISSIVE)
    if namespace != root:
        mode = _general(configs(collection_names.PEER_AUTHENTICATIONS, root), mode)
    old = configs(collection_names.POLICIES, namespace)
    mode = _old_default(old, mode)
    own = configs(collection_names.PEER_AUTHENTICATIONS, namespace)
    mode = _general(own, mode)
    if namespace == root:
        return PeerPolicies(PeerPolicy(mode), (), targets(old, domain))
    selecting = [
        (dict(each.spec.selector.match_labels), _policy(each.spec, mode))
        for each in own
        if each.spec.selector.match_labels
    ]
    return PeerPolicies(PeerPolicy(mode), tuple(selecting), targets(old, domain))


def _both(before: PeerPolicy, now: PeerPolicy) -> PeerPolicy:
    """What serves callers that go by either."""
    ports = sorted(before.ports.keys() | now.ports.keys())
    return PeerPolicy(
        _bridge(before.mode, now.mode),
        {each: _bridge(before.on(each), now.on(each)) for each in ports},
    )


def _bridge(before: Mode, now: Mode) -> Mode:
    return Mode.PERMISSIVE if (before is Mode.DISABLE) != (now is Mode.DISABLE) else now


def _general(configs: Iterable[Config[PeerAuthentication]], inherited: Mode) -> Mode:
    """The mode of the oldest policy without a selector."""
    for each in configs:
        if not each.spec.selector.match_labels:
            return _mode(each.spec.mtls, inherited)
    return inherited


def _policy(spec: PeerAuthentication, inherited: Mode) -> PeerPolicy:
    mode = _mode(spec.mtls, inherited)
    ports = {port: _mode(mtls, mode) for port, mtls in sorted(spec.port_level_mtls.items())}
    return PeerPolicy(mode, ports)


_MODES: Final[Mapping[int, Mode]] = {
    PeerAuthentication.MutualTLS.DISABLE: Mode.DISABLE,
    PeerAuthentication.MutualTLS.PERMISSIVE: Mode.PERMISSIVE,
    PeerAuthentication.MutualTLS.STRICT: Mode.STRICT,
}


def _mode(mtls: PeerAuthentication.MutualTLS, inherited: Mode) -> Mode:
    return _MODES.get(mtls.mode, inherited)


# Policies of Istio 1.0 to 1.4, which PeerAuthentication of the same level overrides (pilot.md J8)


def _old_default(policies: Sequence[Config[Policy]], inherited: Mode) -> Mode:
    found = default_policy(policies)
    return inherited if found is None else _old_mode(found.spec)


def _old_mode(policy: Policy) -> Mode:
    """The mode of a policy; one without peers that use mutual TLS switches it off."""
    for method in policy.peers:
        if method.HasField("mtls"):
            optional = policy.peer_is_optional or method.mtls.allow_tls
            permissive = method.mtls.mode == MutualTls.PERMISSIVE or optional
            return Mode.PERMISSIVE if permissive else Mode.STRICT
    return Mode.DISABLE
