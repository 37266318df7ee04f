"""The mesh at one revision, arranged for lookup; immutable and shared with the revision before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common.credentials import Credential
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Config, Endpoint, Identities, Service, ServiceKey, Workload
from mast.pilot.core.model.public_keys import KeySource, PublicKeys
from mast.pilot.core.model.settling import Settling
from mastapi.trust.v1.trust_pb2 import TrustBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Everything generators may ask for; read it through a `Scope`, which notes what was asked.

    - `generation`: counts the indexes of one world.
    - `services`: by host, the preferred first: Kubernetes, then oldest (pilot.md D4, D11).
    - `hosts`, `hosts_on_port`, `hosts_in_namespace`: hosts of services, sorted.
    - `endpoints`, `identities`: of a service that has endpoints, these sorted by address.
    - `at_address`: services that have an endpoint at an address.
    - `workloads_at`: workloads by address, oldest first.
    - `network_gateways`: services that are ways into a network, by the name in their label.
    - `virtual_services`: those of gateway `mesh` by full host, oldest first; `by_gateway`: by
      gateway, "mesh" or "NAMESPACE/NAME". Their names are complete, delegates are joined.
    - `standalone_hosts`: hosts of `virtual_services` that some proxies see no service for, sorted.
    - `destination_rules`: by full host, oldest first.
    - `configs`: every object by collection and namespace; `collections`: by collection; oldest
      first, as they were written.
    - `selector_keys`: labels of a caller that outbound configuration may depend on; `by_node`:
      endpoints may depend on its node.
    - `settling`: namespaces in which policies about mutual TLS have just changed.
    - `trust`: root bundles by trust domain.
    - `public_keys`: what issuers of tokens publish, by where that is.
    - `secrets`: what Secrets hold, by namespace and name; nothing to be shown.
    """

    generation: int = 0
    mesh: Mesh = field(default_factory=Mesh)
    services: Mapping[str, Sequence[Service]] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    hosts_on_port: Mapping[int, Sequence[str]] = field(default_factory=dict)
    hosts_in_namespace: Mapping[str, Sequence[str]] = field(default_factory=dict)
    endpoints: Mapping[ServiceKey, Sequence[Endpoint]] = field(default_factory=dict)
    identities: Mapping[ServiceKey, Identities] = field(default_factory=dict)
    at_address: Mapping[str, Sequence[ServiceKey]] = field(default_factory=dict)
    workloads_at: Mapping[str, Sequence[Workload]] = field(default_factory=dict)
    network_gateways: Mapping[str, Sequence[ServiceKey]] = field(default_factory=dict)
    virtual_services: Mapping[str, Sequence[Config[VirtualService]]] = field(default_factory=dict)
    by_gateway: Mapping[str, Sequence[Config[VirtualService]]] = field(default_factory=dict)
    standalone_hosts: Sequence[str] = ()
    destination_rules: Mapping[str, Sequence[Config[DestinationRule]]] = field(default_factory=dict)
    configs: Mapping[tuple[str, str], Sequence[Config[Any]]] = field(default_factory=dict)
    collections: Mapping[str, Sequence[Config[Any]]] = field(default_factory=dict)
    selector_keys: frozenset[str] = frozenset()
    by_node: bool = False
    settling: Settling = field(default_factory=dict)
    trust: Mapping[str, TrustBundle] = field(default_factory=dict)
    public_keys: Mapping[KeySource, PublicKeys] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], Credential] = field(default_factory=dict, repr=False)
