"""Who may call a fake API server: static tokens, tokens of service accounts, rules that refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from mast.common.kubernetes.objects import PODS, SERVICE_ACCOUNTS, Object
from tests.fakes.kubernetes.objects import Objects, Status

API_AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True)
class User:
    """Whom a token stands for."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """Calls that are refused with 403; "*" is anything."""

    verb: str
    plural: str
    namespace: str = "*"

    def applies(self, verb: str, plural: str, namespace: str) -> bool:
        asked = (verb, plural, namespace)
        wanted = (self.verb, self.plural, self.namespace)
        return all(want in ("*", have) for want, have in zip(wanted, asked, strict=True))


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


@cache
def signing_key(name: str) -> rsa.RSAPrivateKey:
    """A key of this name for the whole run: making one takes long."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Callers:
    """Tokens that are accepted, and what is refused all the same."""

    objects: Objects
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    static: dict[str, User] = field(default_factory=lambda: {"admin-token": ADMIN})
    refused: list[Rule] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: signing_key("server"))
    key_id: str = "fake-key"
    # An API server of old that knows nothing of audiences answers without any.
    knows_audiences: bool = True

    def caller(self, authorization: str) -> User:
        """Who presents a token; 401 for nobody."""
        token = authorization.removeprefix("Bearer ")
        user = self.static.get(token)
        if user is None:
            user = self.reviewed(token, [API_AUDIENCE])[0]
        if user is None:
            raise Status(401, "Unauthorized", "Unauthorized")
        return user

    def check(self, user: User, verb: str, plural: str, namespace: str) -> None:
        """403 if a rule refuses the call."""
        if any(rule.applies(verb, plural, namespace) for rule in self.refused):
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            message = f'{plural} is forbidden: User "{user.name}" cannot {verb} resource{where}'
            raise Status(403, "Forbidden", message)

    def token(
        self,
        namespace: str,
        account: str,
        audiences: Sequence[str] = (API_AUDIENCE,),
        *,
        pod: Object | None = None,
        seconds: float = 3600,
        **claims: Any,
    ) -> str:
        """A service-account token as TokenRequest makes it, bound to a pod if one is given."""
        found = self.objects.get(SERVICE_ACCOUNTS, namespace, account)
        now = time.time()  # noqa: TID251
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": found["metadata"]["uid"]},
        }
        if pod is not None:
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        payload = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": list(audiences),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + seconds),
            "kubernetes.io": bound,
            **claims,
        }
        return jwt.encode(payload, self.key, "RS256", headers={"kid": self.key_id})

    def keys(self) -> Object:
        """The JWKS that verifies the tokens."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key())
        return {"keys": [{**json.loads(public), "kid": self.key_id, "use": "sig", "alg": "RS256"}]}

    def reviewed(self, token: str, audiences: Sequence[str]) -> tuple[User | None, list[str]]:
        """The user of a token that is good for one of ``audiences``, and for which of them."""
        if (user := self.static.get(token)) is not None:
            return user, list(audiences)
        try:
            claims = jwt.decode(
                token,
                self.key.public_key(),
                ["RS256"],
                audience=list(audiences),
                issuer=self.issuer,
            )
        except jwt.PyJWTError:
            return None, []
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        if not self._exists(SERVICE_ACCOUNTS, namespace, account):
            return None, []
        extra = {}
        if (pod := bound.get("pod")) is not None:
            if not self._exists(PODS, namespace, pod):
                return None, []
            extra = {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        user = User(claims["sub"], (*groups, "system:authenticated"), account["uid"], extra)
        return user, [each for each in audiences if each in claims["aud"]]

    def _exists(self, resource: Any, namespace: str, bound: Mapping[str, str]) -> bool:
        """A token dies with what it is bound to."""
        try:
            found = self.objects.get(resource, namespace, bound["name"])
        except Status:
            return False
        return bool(found["metadata"]["uid"] == bound["uid"])

    def review(self, body: Object) -> Object:
        """Answer a TokenReview."""
        spec = body.get("spec", {})
        user, audiences = self.reviewed(
            str(spec.get("token", "")), spec.get("audiences") or [API_AUDIENCE]
        )
        status: Object = {"authenticated": False, "error": "[invalid bearer token]"}
        if user is not None:
            status = {
                "authenticated": True,
                "user": {
                    "username": user.name,
                    "uid": user.uid,
                    "groups": list(user.groups),
                    "extra": {name: list(values) for name, values in user.extra.items()},
                },
            }
            if self.knows_audiences:
                status["audiences"] = audiences
        return {**body, "status": status}
