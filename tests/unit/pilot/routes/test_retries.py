"""Retry policies (pilot.md F, retries)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPRetry
from mast.pilot.core.routes.retries import DEFAULT_CONDITIONS, DEFAULT_RETRY, retry_policy
from tests.support.messages import made, plain, read

PREVIOUS_HOSTS = """
retry_host_predicate:
- name: envoy.retry_host_predicates.previous_hosts
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
"""  # noqa: E501 - type URLs are long


def expected(text: str, *, elsewhere: bool = True) -> object:
    common = read("host_selection_retry_max_attempts: '5'")
    return {**common, **read(text), **(read(PREVIOUS_HOSTS) if elsewhere else {})}


def test_default() -> None:
    policy = retry_policy(DEFAULT_RETRY, hashed=False)
    assert policy is not None
    assert plain(policy) == expected(f"{{num_retries: 2, retry_on: '{DEFAULT_CONDITIONS}'}}")
    assert DEFAULT_CONDITIONS == (
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    )


@pytest.mark.parametrize("attempts", [0, -1])
def test_no_attempts(attempts: int) -> None:
    assert retry_policy(HTTPRetry(attempts=attempts), hashed=False) is None


@pytest.mark.parametrize(
    ("retry_on", "conditions", "codes"),
    [
        ("5xx", "5xx", []),
        (" 5xx , reset,", "5xx,reset", []),
        ("503", "retriable-status-codes", [503]),
        ("reset,503,504", "reset,retriable-status-codes", [503, 504]),
        ("retriable-status-codes,429", "retriable-status-codes", [429]),
    ],
)
def test_numbers_are_status_codes(retry_on: str, conditions: str, codes: list[int]) -> None:
    policy = retry_policy(HTTPRetry(attempts=1, retry_on=retry_on), hashed=False)
    assert policy is not None
    assert (policy.retry_on, list(policy.retriable_status_codes)) == (conditions, codes)


def test_everything() -> None:
    retry = made(
        HTTPRetry,
        "{attempts: 3, retryOn: reset, perTryTimeout: 2s, backoff: 0.1s,"
        " retryRemoteLocalities: true, retryIgnorePreviousHosts: true}",
    )
    policy = retry_policy(retry, hashed=False)
    assert policy is not None
    assert plain(policy) == expected("""
        num_retries: 3
        retry_on: reset
        per_try_timeout: 2s
        retry_back_off: {base_interval: 0.100s}
        retry_priority:
          name: envoy.retry_priorities.previous_priorities
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
            update_frequency: 2
    """)  # noqa: E501 - type URLs are long


@pytest.mark.parametrize(
    ("retry", "hashed"),
    [("{attempts: 2, retryIgnorePreviousHosts: false}", False), ("attempts: 2", True)],
    ids=["asked-not-to", "hashed"],
)
def test_previous_hosts_may_be_chosen(retry: str, hashed: bool) -> None:
    policy = retry_policy(made(HTTPRetry, retry), hashed=hashed)
    assert policy is not None
    assert not policy.retry_host_predicate
    assert policy.host_selection_retry_max_attempts == 5
