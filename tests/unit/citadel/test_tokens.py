"""Authenticators by tokens of others: issuers, Kubernetes, mesh keys (A5, D6).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
import pytest

from mast.citadel.api.tokens import Jwt, KubernetesToken, cluster_aliases
from mast.citadel.core.authn import Credentials, PodRef
from mast.citadel.core.jwt import VerifyingKey
from mast.citadel.core.refusals import Unauthenticated
from mast.citadel.core.reviews import Review, Unreviewable
from tests.unit.citadel.examples import DOMAIN, NOW
from tests.unit.citadel.fakes import Clock
from tests.unit.citadel.test_jwt import ISSUER, RSA, RULE, jwk, keys, token
from tests.unit.citadel.test_reviews import GOOD

ME = f"spiffe://{DOMAIN}/ns/shop/sa/reviews"
A_JWT = "a.b.c"


def bearing(text: str, *clusters: str) -> Credentials:
    named = [("clusterid", cluster) for cluster in clusters]
    return Credentials(metadata=[("authorization", f"Bearer {text}"), *named])


@dataclass
class Issuer:
    """Gives its keys and notes which were asked for."""

    held: Sequence[VerifyingKey] = field(default_factory=lambda: keys(jwk(RSA, kid="one")))
    asked: list[str] = field(default_factory=list)

    async def keys(self, key_id: str) -> Sequence[VerifyingKey]:
        self.asked.append(key_id)
        return self.held


def by_jwt(issuer: Issuer, **changes: Any) -> Jwt:
    return Jwt("OIDC JWT", RULE, issuer.keys, DOMAIN, Clock(), ("old.example",), **changes)


async def test_a_service_accounts_token() -> None:
    issuer = Issuer()
    caller = await by_jwt(issuer).authenticate(bearing(token(kid="one")))
    assert (caller.authenticator, caller.identities) == ("OIDC JWT", (ME,))
    assert issuer.asked == ["one"]


@pytest.mark.parametrize(
    ("text", "reason", "asked"),
    [
        pytest.param("", "OIDC JWT: none", False, id="none"),
        pytest.param("join-token", "OIDC JWT: JWT: not readable", False, id="no-jwt"),
        pytest.param(token(iss="https://o"), "another issuer", False, id="issuer"),
        pytest.param(token(aud="x"), "another audience", True, id="audience"),
        pytest.param(token(sub="admin"), "no service account", True, id="no-account"),
        pytest.param(token(sub=ME), "no service account", True, id="identity-as-subject"),
        pytest.param(token(sub="system:serviceaccount:a/b:c"), "namespace 'a/b'", True, id="slash"),
        pytest.param(token(exp=int(NOW.timestamp())), "expired", True, id="expired"),
    ],
)
async def test_tokens_that_are_refused(text: str, reason: str, asked: bool) -> None:
    """Keys are not even looked for unless the issuer is the one."""
    issuer = Issuer()
    with pytest.raises(Unauthenticated) as caught:
        await by_jwt(issuer).authenticate(bearing(text))
    assert reason in caught.value.reason
    assert bool(issuer.asked) is asked


@pytest.mark.parametrize(
    ("subject", "identity"),
    [
        (ME, ME),
        ("spiffe://old.example/ns/shop/sa/reviews", ME),
        ("system:serviceaccount:shop:reviews", ME),
    ],
)
async def test_a_mesh_key_may_name_identities(subject: str, identity: str) -> None:
    caller = await by_jwt(Issuer(), spiffe_ids=True).authenticate(bearing(token(sub=subject)))
    assert caller.identities == (identity,)


async def test_a_mesh_key_may_not_name_foreign_identities() -> None:
    text = token(sub="spiffe://partner.example/ns/shop/sa/reviews")
    with pytest.raises(Unauthenticated, match="authenticate failure"):
        await by_jwt(Issuer(), spiffe_ids=True).authenticate(bearing(text))


@dataclass
class FakeReviewer:
    """API servers by cluster; "" is the local one."""

    answers: dict[str, Review] = field(default_factory=lambda: {"": GOOD, "east": GOOD})
    asked: list[str] = field(default_factory=list)

    async def __call__(self, cluster: str, token: str, audiences: Sequence[str]) -> Review:
        self.asked.append(cluster)
        if cluster not in self.answers:
            raise Unreviewable(f"cluster {cluster!r} is not known")
        return self.answers[cluster]


def by_review(reviewer: FakeReviewer, clock: Clock | None = None) -> KubernetesToken:
    return KubernetesToken(
        DOMAIN,
        reviewer,
        (clock or Clock()).monotonic,
        own_cluster="home",
        cluster_aliases={"alias": "home", "far": "east"},
    )


@pytest.mark.parametrize(
    ("clusters", "asked"),
    [
        pytest.param((), "", id="none-named"),
        pytest.param(("",), "", id="empty"),
        pytest.param(("home",), "", id="own-id"),
        pytest.param(("alias",), "", id="alias-of-ours"),
        pytest.param(("east",), "east", id="remote"),
        pytest.param(("far",), "east", id="alias-of-a-remote"),
        pytest.param(("east", "west"), "", id="two-are-none"),
    ],
)
async def test_which_cluster_is_asked(clusters: tuple[str, ...], asked: str) -> None:
    reviewer = FakeReviewer()
    caller = await by_review(reviewer).authenticate(bearing(A_JWT, *clusters))
    assert reviewer.asked == [asked]
    assert caller.identities == (ME,)
    assert caller.pod == PodRef(asked, "shop", "reviews", "reviews-1", "u1")


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        pytest.param(Credentials(), "Kubernetes token: none", id="none"),
        pytest.param(bearing("join-token"), "no JWT", id="join-token"),
        pytest.param(bearing(A_JWT, "mars"), "'mars' is not known", id="unknown-cluster"),
    ],
)
async def test_what_is_no_kubernetes_token(credentials: Credentials, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await by_review(FakeReviewer()).authenticate(credentials)
    assert reason in caught.value.reason


async def test_a_good_review_counts_for_a_minute() -> None:
    reviewer, clock = FakeReviewer(), Clock()
    authenticator = by_review(reviewer, clock)
    await authenticator.authenticate(bearing(A_JWT))
    clock.time += timedelta(seconds=59)
    await authenticator.authenticate(bearing(A_JWT))
    assert len(reviewer.asked) == 1
    await authenticator.authenticate(bearing("x.y.z"))
    await authenticator.authenticate(bearing(A_JWT, "east"))
    assert len(reviewer.asked) == 3
    clock.time += timedelta(seconds=1)
    await authenticator.authenticate(bearing(A_JWT))
    assert len(reviewer.asked) == 4


async def test_a_bad_review_counts_for_a_second() -> None:
    reviewer, clock = FakeReviewer({"": Review(False, error="expired")}), Clock()
    authenticator = by_review(reviewer, clock)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(bearing(A_JWT))
    assert len(reviewer.asked) == 1
    clock.time += timedelta(seconds=1)
    reviewer.answers[""] = GOOD
    await authenticator.authenticate(bearing(A_JWT))


async def test_silence_is_not_remembered() -> None:
    reviewer = FakeReviewer({})
    authenticator = by_review(reviewer)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearing(A_JWT))
    reviewer.answers[""] = GOOD
    await authenticator.authenticate(bearing(A_JWT))


async def test_a_namespace_that_is_no_part_of_an_identity() -> None:
    bad = Review(True, "system:serviceaccount:a/b:c", GOOD.groups, GOOD.audiences)
    with pytest.raises(Unauthenticated) as caught:
        await by_review(FakeReviewer({"": bad})).authenticate(bearing(A_JWT))
    assert "namespace 'a/b'" in caught.value.reason


def test_cluster_aliases() -> None:
    assert cluster_aliases(["a=b", "c=d"]) == {"a": "b", "c": "d"}
    for entry in ("a", "=b", "a="):
        with pytest.raises(ValueError, match="want ALIAS=CLUSTER"):
            cluster_aliases([entry])


async def test_tokens_of_another_issuers_key_are_refused() -> None:
    text = jwt.encode({"iss": ISSUER, "sub": "x"}, "k" * 64, "HS256")
    with pytest.raises(Unauthenticated) as caught:
        await by_jwt(Issuer()).authenticate(bearing(text))
    assert "'HS256' does not count" in caught.value.reason
