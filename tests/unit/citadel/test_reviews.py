"""What a TokenReview makes of a token, and how long that counts (citadel-and-agent.md A5, D6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mast.citadel.core.authn import PodRef
from mast.citadel.core.refusals import Unauthenticated
from mast.citadel.core.reviews import Review, ReviewCache, reviewed_pod

GOOD = Review(
    authenticated=True,
    username="system:serviceaccount:shop:reviews",
    groups=("system:authenticated", "system:serviceaccounts"),
    audiences=("istio-ca",),
    extra={
        "authentication.kubernetes.io/pod-name": ["reviews-1"],
        "authentication.kubernetes.io/pod-uid": ["u1"],
    },
)


def test_a_pods_account() -> None:
    pod = reviewed_pod(GOOD, ("istio-ca",), "east")
    assert pod == PodRef("east", "shop", "reviews", "reviews-1", "u1")


def test_a_token_that_is_bound_to_no_pod() -> None:
    pod = reviewed_pod(replace(GOOD, extra={}), ("x", "istio-ca"), "")
    assert pod == PodRef("", "shop", "reviews")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"authenticated": False, "error": "gone"}, "not authenticated: gone", id="expired"
        ),
        pytest.param({"audiences": ("other",)}, "another audience", id="audience"),
        pytest.param({"audiences": ()}, "another audience", id="server-ignores-audiences"),
        pytest.param({"groups": ("system:authenticated",)}, "no service account", id="group"),
        pytest.param({"username": "admin"}, "no service account", id="user"),
        pytest.param(
            {"username": "system:serviceaccount:a:b:c"}, "no service account", id="five-parts"
        ),
    ],
)
def test_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        reviewed_pod(replace(GOOD, **changes), ("istio-ca",), "")
    assert reason in caught.value.reason


@pytest.mark.parametrize(("good", "seconds"), [(True, 60), (False, 1)])
def test_reviews_count_for_a_while(good: bool, seconds: int) -> None:
    cache = ReviewCache()
    review = replace(GOOD, authenticated=good)
    key = cache.key("", "t")
    assert cache.get(key, 0.0) is None
    cache.put(key, review, 100.0)
    assert cache.get(key, 100.0 + seconds - 0.1) is review
    assert cache.get(key, 100.0 + seconds) is None
    assert cache.get(key, 100.0) is None  # forgotten, not just hidden


def test_tokens_of_clusters_are_kept_apart_and_not_in_clear() -> None:
    keys = {ReviewCache.key("", "secret"), ReviewCache.key("east", "secret")}
    assert len(keys) == 2
    assert not any(b"secret" in key for key in keys)


def test_the_oldest_go() -> None:
    cache = ReviewCache(size=2)
    for name in ("a", "b", "c"):
        cache.put(cache.key("", name), GOOD, 0.0)
    assert [cache.get(cache.key("", n), 1.0) is None for n in ("a", "b", "c")] == [
        True,
        False,
        False,
    ]
