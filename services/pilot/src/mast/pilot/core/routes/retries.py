"""Retry policies of HTTP routes."""

from typing import Final

from envoy.config.route.v3.route_components_pb2 import RetryPolicy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPRetry
from mast.pilot.core.packing import packed

_STATUS_CODES: Final = "retriable-status-codes"
DEFAULT_CONDITIONS: Final = f"connect-failure,refused-stream,unavailable,cancelled,{_STATUS_CODES}"
"""Conditions retried unless `retryOn` says otherwise (pilot.md F)."""

DEFAULT_RETRY: Final = HTTPRetry(attempts=2)
"""What applies where neither route nor mesh has a policy (pilot.md F)."""

_HOST_SELECTION_ATTEMPTS: Final = 5
_PRIORITY_UPDATE_FREQUENCY: Final = 2


def retry_policy(retry: HTTPRetry, *, hashed: bool) -> RetryPolicy | None:
    """The Envoy policy for `retries` of a route, None when it asks for no attempts (pilot.md F).

    With consistent hashing (`hashed`) a retry goes where the hash sends it, so hosts already tried
    are not avoided.
    """
    if retry.attempts <= 0:
        return None
    conditions, codes = _conditions(retry.retry_on or DEFAULT_CONDITIONS)
    policy = RetryPolicy(
        retry_on=conditions,
        num_retries=UInt32Value(value=retry.attempts),
        retriable_status_codes=codes,
        host_selection_retry_max_attempts=_HOST_SELECTION_ATTEMPTS,
    )
    if not hashed and _ignores_previous_hosts(retry):
        policy.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=packed(PreviousHostsPredicate()),
        )
    if retry.per_try_timeout.ToTimedelta():
        policy.per_try_timeout.CopyFrom(retry.per_try_timeout)
    if retry.backoff.ToTimedelta():
        policy.retry_back_off.base_interval.CopyFrom(retry.backoff)
    if retry.retry_remote_localities.value:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        policy.retry_priority.typed_config.CopyFrom(
            packed(PreviousPrioritiesConfig(update_frequency=_PRIORITY_UPDATE_FREQUENCY))
        )
    return policy


def _ignores_previous_hosts(retry: HTTPRetry) -> bool:
    return not retry.HasField("retry_ignore_previous_hosts") or (
        retry.retry_ignore_previous_hosts.value
    )


def _conditions(retry_on: str) -> tuple[str, list[int]]:
    """Envoy's conditions and the status codes that stand among them as numbers."""
    parts = [part.strip() for part in retry_on.split(",")]
    codes = [int(part) for part in parts if part.isdecimal()]
    names = [part for part in parts if part and not part.isdecimal()]
    if codes and _STATUS_CODES not in names:
        names.append(_STATUS_CODES)
    return ",".join(names), codes
