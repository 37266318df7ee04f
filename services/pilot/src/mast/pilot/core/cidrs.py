"""Envoy's networks."""

from ipaddress import ip_network

from envoy.config.core.v3.address_pb2 import CidrRange
from google.protobuf.wrappers_pb2 import UInt32Value


def cidr_range(subnet: str) -> CidrRange:
    """A CIDR, or an address as the smallest one; raises `ValueError`."""
    network = ip_network(subnet, strict=False)
    return CidrRange(
        address_prefix=str(network.network_address),
        prefix_len=UInt32Value(value=network.prefixlen),
    )
