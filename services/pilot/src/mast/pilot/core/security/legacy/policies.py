"""Which authentication Policy of Istio 1.0 to 1.4 holds for a service port (pilot.md J8)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from istio.authentication.v1alpha1.policy_pb2 import Policy, PortSelector, TargetSelector
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.model import Config, Labels, Port, Service, selects
from mast.pilot.core.scope.scope import Scope

DEFAULT: Final = "default"
"""Name of the policy of a namespace, and of that of the mesh."""


Configs = Callable[[str, str], Sequence[Config[Any]]]
"""Objects of a collection in a namespace, oldest first."""


class Level(IntEnum):
    """What a policy is for; the more special one holds, as a whole."""

    MESH = 1
    NAMESPACE = 2
    WORKLOAD = 3


class Held(NamedTuple):
    """A policy and what it is for."""

    level: Level
    config: Config[Policy]

    @property
    def policy(self) -> Policy:
        """What it says."""
        return self.config.spec


@dataclass(frozen=True, slots=True)
class Target:
    """A service that a policy is for: some of its ports if there are any, some of its workloads."""

    host: str
    ports: Sequence[PortSelector]
    labels: Mapping[str, str]
    config: Config[Policy]

    def includes(self, port: Port, labels: Labels) -> bool:
        """Whether it is about a port of the service, on workloads with these labels."""
        if not selects(self.labels, labels):
            return False
        return not self.ports or any(_is_port(each, port) for each in self.ports)


@dataclass(frozen=True, slots=True)
class AuthenticationPolicies:
    """What holds in a namespace: for all of its services, and for some by their hosts."""

    general: Held | None = None
    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    """By host; oldest first."""

    def of(self, service: Service | None, port: Port | None, labels: Labels) -> Held | None:
        """The policy for a service port of a workload; for what is of no service the general."""
        if service is not None and port is not None:
            for each in self.targets.get(service.host, ()):
                if each.includes(port, labels):
                    return Held(Level.WORKLOAD, each.config)
        return self.general


def authentication_policies(scope: Scope, namespace: str) -> AuthenticationPolicies:
    """The policies for services of a namespace, whoever asks.

    That of the service (its `targets`), else the `default` of the namespace, else the MeshPolicy
    `default`. Of several for one service port the oldest holds.
    """
    return scope.shared(
        ("authentication policies", namespace),
        lambda inner: AuthenticationPolicies(
            _general(inner.configs, namespace),
            targets(inner.configs(collection_names.POLICIES, namespace), inner.mesh.domain),
        ),
    )


def default_policy(configs: Sequence[Config[Policy]]) -> Config[Policy] | None:
    """The one that is for everything."""
    for each in configs:
        if each.meta.name == DEFAULT and not each.spec.targets:
            return each
    return None


def targets(configs: Sequence[Config[Policy]], domain: str) -> Mapping[str, Sequence[Target]]:
    """What policies of one namespace say of single services, by their hosts; oldest first.

    `domain` is the DNS suffix of the mesh.
    """
    found: dict[str, list[Target]] = {}
    for config in configs:
        for each in config.spec.targets:
            for host in _hosts(each, config.meta.namespace, domain):
                target = Target(host, tuple(each.ports), dict(each.labels), config)
                found.setdefault(host, []).append(target)
    return found


def _general(configs: Configs, namespace: str) -> Held | None:
    if (found := default_policy(configs(collection_names.POLICIES, namespace))) is not None:
        return Held(Level.NAMESPACE, found)
    whole = default_policy(configs(collection_names.MESH_POLICIES, ""))
    return Held(Level.MESH, whole) if whole is not None else None


def _hosts(target: TargetSelector, namespace: str, domain: str) -> Sequence[str]:
    return tuple(hosts.full_names(target.name, namespace, domain))


def _is_port(selector: PortSelector, port: Port) -> bool:
    """A port of the service by the number that callers dial, or by its name."""
    if selector.WhichOneof("port") == "name":
        return selector.name == port.name
    return selector.number == port.number
