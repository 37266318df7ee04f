"""What a Kubernetes API server says of a token, what of it counts, and for how long (A5).

Section numbers are those of citadel-and-agent.md.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from mast.citadel.core.authn import PodRef
from mast.citadel.core.jwt import service_account
from mast.citadel.core.refusals import Unauthenticated

_GROUP = "system:serviceaccounts"
_EXTRA = "authentication.kubernetes.io/pod-"


class Unreviewable(Exception):
    """A cluster cannot be asked: it is unknown, or its API server does not answer."""


@dataclass(frozen=True)
class Review:
    """The status of a TokenReview."""

    authenticated: bool
    username: str = ""
    groups: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    error: str = ""


def reviewed_pod(review: Review, audiences: Sequence[str], cluster: str) -> PodRef:
    """Whom the token stands for; Unauthenticated unless it is a service account's for us.

    A server that says for no audience that the token is good would take every token that there is.
    """
    if not review.authenticated:
        raise Unauthenticated(f"Kubernetes token: not authenticated: {review.error[:200]}")
    if not set(review.audiences) & set(audiences):
        raise Unauthenticated("Kubernetes token: for another audience")
    if _GROUP not in review.groups:
        raise Unauthenticated("Kubernetes token: of no service account")
    namespace, account = service_account(review.username)
    name, uid = (_only(review.extra.get(f"{_EXTRA}{what}", ())) for what in ("name", "uid"))
    return PodRef(cluster, namespace, account, name, uid)


def _only(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else ""


@dataclass
class ReviewCache:
    """Reviews by the hash of the token: good ones for a minute, others for a second (A5).

    Times are seconds of any clock that never goes back. Of more than ``size`` the oldest go.
    """

    positive: timedelta = timedelta(seconds=60)
    negative: timedelta = timedelta(seconds=1)
    size: int = 10_000
    _reviews: OrderedDict[bytes, tuple[Review, float]] = field(
        default_factory=OrderedDict, init=False
    )

    @staticmethod
    def key(cluster: str, token: str) -> bytes:
        """What a review is kept under: nothing that could be presented."""
        return sha256(f"{cluster}\0{token}".encode()).digest()

    def get(self, key: bytes, now: float) -> Review | None:
        """What was said not too long ago."""
        found = self._reviews.get(key)
        if found is None:
            return None
        review, until = found
        if now < until:
            return review
        del self._reviews[key]
        return None

    def put(self, key: bytes, review: Review, now: float) -> None:
        """Remember what was said."""
        life = self.positive if review.authenticated else self.negative
        self._reviews[key] = (review, now + life.total_seconds())
        self._reviews.move_to_end(key)
        while len(self._reviews) > self.size:
            self._reviews.popitem(last=False)
