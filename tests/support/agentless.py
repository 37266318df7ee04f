"""What a configuration is changed in for an Envoy that has no agent, no sockets and no peers."""

from collections.abc import Mapping
from hashlib import blake2b

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import (
    CaresDnsResolverConfig,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.pilot.core.packing import packed
from mast.pilot.core.plugins.configurations import PULL_POLICY, PULL_SECRET, RESOURCE_VERSION
from tests.support.pki import Ca
from tests.support.wasm_modules import assembled, counting_bytes

_LONGEST_PATH = 107


def resolved_by(dns_port: int, cluster: Cluster) -> Cluster:
    """The cluster, asking a DNS on the loopback interface."""
    config = DnsCluster()
    if not cluster.cluster_type.typed_config.Unpack(config):
        return cluster
    resolver = CaresDnsResolverConfig()
    config.typed_dns_resolver_config.typed_config.Unpack(resolver)
    resolver.resolvers.append(_loopback(dns_port))
    config.typed_dns_resolver_config.typed_config.CopyFrom(packed(resolver))
    result = Cluster()
    result.CopyFrom(cluster)
    result.cluster_type.typed_config.CopyFrom(packed(config))
    return result


def unbound(listener: Listener, owner: bytes) -> Listener:
    """The listener without a socket; Envoy dies of a transparent one that has none.

    Unix sockets are bound all the same: under names that nobody else has.
    """
    result = Listener()
    result.CopyFrom(listener)
    result.bind_to_port.value = False
    result.ClearField("transparent")
    path = result.address.pipe.path
    if 0 < len(path.encode()) <= _LONGEST_PATH:
        unique = blake2b(path.encode(), digest_size=8, key=owner).hexdigest()
        result.address.pipe.path = f"@{unique}"
    return result


def with_module(extension: TypedExtensionConfig) -> TypedExtensionConfig:
    """The extension; if it is a Wasm plugin as agents hand it over, with another module."""
    for config in (HttpWasm(), NetworkWasm()):
        if extension.typed_config.Unpack(config):
            machine = config.config.vm_config
            machine.code.Clear()
            machine.code.local.inline_bytes = assembled(counting_bytes())
            for name in (PULL_POLICY, PULL_SECRET, RESOURCE_VERSION):
                machine.environment_variables.key_values.pop(name, None)
            return TypedExtensionConfig(name=extension.name, typed_config=packed(config))
    return extension


def secrets() -> Mapping[bool, Secret]:
    """A certificate, and (True) roots."""
    authority = Ca.root()
    pair = authority.leaf(uris=["spiffe://cluster.local/ns/shop/sa/web"])
    certificate, roots = Secret(), Secret()
    certificate.tls_certificate.certificate_chain.inline_bytes = pair.chain
    certificate.tls_certificate.private_key.inline_bytes = pair.key
    roots.validation_context.trusted_ca.inline_bytes = authority.pem
    return {False: certificate, True: roots}


def _loopback(port: int) -> Address:
    result = Address()
    result.socket_address.address, result.socket_address.port_value = "127.0.0.1", port
    return result
