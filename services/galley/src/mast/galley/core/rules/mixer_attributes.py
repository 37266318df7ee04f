"""The attributes that Istio's own manifests declare, and their types (mixer.md H).

A mesh may declare more; those are not known to whoever looks at one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mast.common.expressions.types import ValueType

_NAMES: Final[Mapping[ValueType, str]] = {
    ValueType.BOOL: """
        check.cache_hit connection.mtls context.reporter.local quota.cache_hit
    """,
    ValueType.DURATION: """
        connection.duration response.duration
    """,
    ValueType.INT64: """
        check.error_code connection.received.bytes connection.received.bytes_total
        connection.sent.bytes connection.sent.bytes_total destination.port request.size
        request.total_size response.code response.size response.total_size
    """,
    ValueType.IP_ADDRESS: """
        destination.ip origin.ip source.ip
    """,
    ValueType.STRING: """
        api.operation api.protocol api.service api.version check.error_message
        connection.event connection.id connection.requested_server_name context.protocol
        context.proxy_error_code context.proxy_version context.reporter.kind
        context.reporter.uid destination.container.name destination.name destination.namespace
        destination.owner destination.principal destination.service.host
        destination.service.name destination.service.namespace destination.service.uid
        destination.serviceAccount destination.uid destination.workload.name
        destination.workload.namespace destination.workload.uid origin.uid origin.user
        rbac.permissive.effective_policy_id rbac.permissive.response_code request.api_key
        request.auth.audiences request.auth.presenter request.auth.principal
        request.auth.raw_claims request.host request.id request.method request.path
        request.reason request.referer request.scheme request.url_path request.useragent
        response.grpc_message response.grpc_status source.name source.namespace source.owner
        source.principal source.serviceAccount source.services source.uid source.user
        source.workload.name source.workload.namespace source.workload.uid
    """,
    ValueType.STRING_MAP: """
        destination.labels destination.metadata request.auth.claims request.headers
        request.query_params response.headers source.labels source.metadata
    """,
    ValueType.TIMESTAMP: """
        context.time context.timestamp request.time response.time
    """,
}

STANDARD: Final[Mapping[str, ValueType]] = {
    name: type_ for type_, names in _NAMES.items() for name in names.split()
}
"""Types by name of attribute."""
