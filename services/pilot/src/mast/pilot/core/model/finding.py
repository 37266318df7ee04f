"""What became of configuration: facts that operators should know, found while it is made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class ObjectName(NamedTuple):
    """Names a stored object: its MCP collection, its namespace ("" if it has none), its name."""

    collection: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kind = self.collection.rpartition("/")[2]
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


class Fault(StrEnum):
    """What is wrong; the value is the metric that counts how often it is so now (pilot.md M3).

    Those from `HIDDEN_SERVICE` on have no counterpart among Istio's metrics.
    """

    INBOUND_PORT = "pilot_conflict_inbound_listener"
    HTTP_OVER_TCP = "pilot_conflict_outbound_listener_http_over_current_tcp"
    TCP_OVER_HTTP = "pilot_conflict_outbound_listener_tcp_over_current_http"
    TCP_OVER_TCP = "pilot_conflict_outbound_listener_tcp_over_current_tcp"
    DUPLICATE_CLUSTER = "pilot_duplicate_envoy_clusters"
    DUPLICATE_DOMAIN = "pilot_vservice_dup_domain"
    DUPLICATE_SUBSET = "pilot_destrule_subsets"
    DNS_WITHOUT_ENDPOINTS = "pilot_dns_cluster_without_endpoints"
    NO_INSTANCES = "pilot_eds_no_instances"
    NOT_READY = "pilot_endpoint_not_ready"
    NO_WORKLOAD = "endpoint_no_pod"
    NO_SERVICE = "pilot_no_ip"
    REJECTED_CONFIG = "pilot_total_rejected_configs"
    UNKNOWN_PROVIDER = "provider_lookup_cluster_failures"
    PATCH = "pilot_envoy_filter_status"
    UNAVAILABLE_CREDENTIAL = "pilot_sds_certificate_errors_total"

    HIDDEN_SERVICE = "pilot_hidden_services"
    SUPERSEDED = "pilot_superseded_configs"
    UNKNOWN_HOST = "pilot_unknown_hosts"
    UNKNOWN_SUBSET = "pilot_unknown_subsets"
    UNKNOWN_GATEWAY = "pilot_unknown_gateways"
    MISSING_DELEGATE = "pilot_missing_delegates"
    NO_FAILOVER = "pilot_failover_without_outlier_detection"
    UNREADABLE = "pilot_unreadable_configs"
    PROXYLESS = "pilot_proxyless_unsupported"
    UNENFORCEABLE = "pilot_unenforceable_policies"
    MISSING_KEYS = "pilot_token_keys_missing"
    OLD_KEYS = "pilot_token_keys_outdated"
    UNUSABLE_KEYS = "pilot_token_keys_unusable"
    CLAIMS_WITHOUT_TOKENS = "pilot_claim_routes_without_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as its author wants it (pilot.md N10, N25).

    `key` is what it is about: a listener, domain, cluster, host. `subject` is the object that does
    not get it, `winner` the one that has it instead; None where there is none. `message` is a whole
    sentence for people.
    """

    fault: Fault
    key: str
    message: str
    subject: ObjectName | None = None
    winner: ObjectName | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """Sort key."""
        return self.fault, self.key, str(self.subject), str(self.winner), self.message
