"""Load assignments as gRPC takes them: addresses once, no empty or weightless locality (B29)."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment


def dialable(assignment: ClusterLoadAssignment) -> ClusterLoadAssignment:
    """An assignment made for Envoy without what gRPC rejects as a whole.

    Unix sockets, an address that comes twice, a gap between priorities.
    """
    seen: set[tuple[str, int]] = set()
    groups = [each for group in assignment.endpoints if (each := _group(group, seen)) is not None]
    ranks = {each: rank for rank, each in enumerate(sorted({one.priority for one in groups}))}
    for each in groups:
        each.priority = ranks[each.priority]
    return ClusterLoadAssignment(cluster_name=assignment.cluster_name, endpoints=groups)


def _group(group: LocalityLbEndpoints, seen: set[tuple[str, int]]) -> LocalityLbEndpoints | None:
    kept = list(_addressed(group.lb_endpoints, seen))
    if not kept or not group.load_balancing_weight.value:
        return None
    return LocalityLbEndpoints(
        locality=group.locality,
        lb_endpoints=kept,
        load_balancing_weight=group.load_balancing_weight,
        priority=group.priority,
    )


def _addressed(endpoints: Iterable[LbEndpoint], seen: set[tuple[str, int]]) -> Iterator[LbEndpoint]:
    for each in endpoints:
        where = each.endpoint.address.socket_address
        if _is_ip(where.address) and (where.address, where.port_value) not in seen:
            seen.add((where.address, where.port_value))
            made = LbEndpoint(
                health_status=each.health_status,
                load_balancing_weight=each.load_balancing_weight,
            )
            made.endpoint.address.CopyFrom(each.endpoint.address)
            yield made


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
