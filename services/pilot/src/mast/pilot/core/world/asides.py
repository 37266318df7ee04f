"""What a proxy calls on its own account, apart from what its application does."""

from collections.abc import Iterator
from itertools import chain

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from mast.pilot.core.clusters.clusters import outbound_cluster
from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.clusters.endpoints import Destination
from mast.pilot.core.scope.audience import Audience
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorization import hidden_authorizers
from mast.pilot.core.telemetry.telemetry import hidden_collectors


def hidden_clusters(scope: Scope, audience: Audience) -> Iterator[Cluster]:
    """Clusters for telemetry and external authorization that its Sidecar leaves out."""
    proxy, caller = audience.proxy, audience.caller
    found = chain(hidden_collectors(scope, proxy), hidden_authorizers(scope, proxy))
    unique = {(service.key, port.number): (service, port) for service, port in found}
    for service, port in unique.values():
        rule = rule_for(scope, service, caller.labels)
        made = outbound_cluster(Destination(service, port, "", rule), scope, caller)
        if made is not None:
            yield made
