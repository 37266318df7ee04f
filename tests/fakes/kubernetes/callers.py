"""Who may call a fake API server: static tokens, tokens of service accounts, rules that refuse."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from mast.common.kubernetes.objects import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from tests.fakes.kubernetes import rbac
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.rbac import Asked
from tests.fakes.kubernetes.status import Status, invalid

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
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

# Issuer of tokens that stand in Secrets and do not end.
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEGACY_TYPE = "kubernetes.io/service-account-token"
# Shortest life of a token that may be asked for, in seconds.
SHORTEST = 600


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
    # Whether the roles among the objects decide; without, whoever is known may do everything.
    by_roles: bool = False
    key: rsa.RSAPrivateKey = field(default_factory=lambda: signing_key("server"))
    key_id: str = "fake-key"
    # What Secrets of tokens say of the server's CA.
    ca_pem: bytes = b""
    # An API server of old that knows nothing of audiences answers without any.
    knows_audiences: bool = True

    def caller(self, authorization: str) -> User:
        """Who presents a token; 401 for one that nobody has, and nobody in particular without."""
        if not authorization:
            return ANONYMOUS
        token = authorization.removeprefix("Bearer ")
        user = self.reviewed(token, [API_AUDIENCE])[0]
        if user is None:
            raise Status(401, "Unauthorized", "Unauthorized")
        return user

    def check(self, user: User, asked: Asked) -> None:
        """403 if a rule refuses the call, or no role allows it."""
        if not self.allows(user.name, user.groups, asked):
            raise Status(403, "Forbidden", asked.refusal(user.name))

    def allows(self, user: str, groups: Sequence[str], asked: Asked) -> bool:
        """Whether somebody may do something."""
        call = asked.verb, asked.plural, asked.namespace
        if any(rule.applies(*call) for rule in self.refused):
            return False
        if self.by_roles:
            return rbac.allowed(self.objects, user, groups, asked)
        return user != ANONYMOUS.name

    def token(
        self,
        namespace: str,
        account: str,
        audiences: Sequence[str] = (API_AUDIENCE,),
        *,
        pod: Object | None = None,
        secret: Object | None = None,
        seconds: float = 3600,
        **claims: Any,
    ) -> str:
        """A service-account token as TokenRequest makes it, bound to a pod or Secret if given."""
        found = self.objects.get(SERVICE_ACCOUNTS, namespace, account)
        now = time.time()  # noqa: TID251
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": found["metadata"]["uid"]},
        }
        for kind, to in (("pod", pod), ("secret", secret)):
            if to is not None:
                bound[kind] = {"name": to["metadata"]["name"], "uid": to["metadata"]["uid"]}
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
            key, good = self.key.public_key(), ["RS256"]
            if jwt.decode(token, options={"verify_signature": False}).get("iss") == LEGACY_ISSUER:
                return self._legacy(jwt.decode(token, key, good)), list(audiences)
            claims = jwt.decode(token, key, good, audience=list(audiences), issuer=self.issuer)
        except jwt.PyJWTError:
            return None, []
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        kinds = {SERVICE_ACCOUNTS: account, PODS: bound.get("pod"), SECRETS: bound.get("secret")}
        if not all(self._exists(k, namespace, to) for k, to in kinds.items() if to):
            return None, []
        extra = {}
        if (pod := bound.get("pod")) is not None:
            extra = {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
        user = _account(namespace, account["name"], account["uid"], extra)
        return user, [each for each in audiences if each in claims["aud"]]

    def _legacy(self, claims: Mapping[str, str]) -> User | None:
        """The account of a token in a Secret, as long as that is there."""
        at = f"{LEGACY_ISSUER}/"
        namespace = claims[f"{at}namespace"]
        name, uid = claims[f"{at}service-account.name"], claims[f"{at}service-account.uid"]
        there = (SECRETS, namespace, claims[f"{at}secret.name"]) in self.objects.stored
        account = {"name": name, "uid": uid}
        if not there or not self._exists(SERVICE_ACCOUNTS, namespace, account):
            return None
        return _account(namespace, name, uid)

    def fill(self, secret: Object) -> Object:
        """A Secret with the token of the account that it names, as the token controller makes it.

        It goes with an account that is not there.
        """
        metadata = secret["metadata"]
        namespace, at = metadata["namespace"], f"{LEGACY_ISSUER}/"
        account = (metadata.get("annotations") or {}).get("kubernetes.io/service-account.name", "")
        found = self.objects.stored.get((SERVICE_ACCOUNTS, namespace, account))
        if found is None:
            return self.objects.delete(SECRETS, namespace, metadata["name"])
        claims = {
            "iss": LEGACY_ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            f"{at}namespace": namespace,
            f"{at}secret.name": metadata["name"],
            f"{at}service-account.name": account,
            f"{at}service-account.uid": found["metadata"]["uid"],
        }
        token = jwt.encode(claims, self.key, "RS256", headers={"kid": self.key_id})
        data = {"token": token.encode(), "namespace": namespace.encode(), "ca.crt": self.ca_pem}
        texts = {name: base64.b64encode(value).decode() for name, value in data.items()}
        change = {**secret, "data": {**(secret.get("data") or {}), **texts}}
        return self.objects.update(SECRETS, namespace, metadata["name"], change)

    def request(self, namespace: str, name: str, body: Object) -> Object:
        """Answer a TokenRequest; 409 if what the token is to be bound to is another one."""
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds", 3600)
        if seconds < SHORTEST:
            problem = "Invalid value: may not specify a duration less than 10 minutes"
            raise invalid(
                "TokenRequest.authentication.k8s.io", "", ("spec.expirationSeconds", problem)
            )
        audiences = spec.get("audiences") or [API_AUDIENCE]
        bound, reference = {}, spec.get("boundObjectRef")
        if reference:
            kind = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}[reference["kind"]]
            place = namespace if kind.namespaced else ""
            to = self.objects.get(kind, place, reference["name"])
            if reference.get("uid", to["metadata"]["uid"]) != to["metadata"]["uid"]:
                message = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record"  # noqa: E501
                raise Status(409, "Conflict", message)
            bound = {} if kind == NODES else {reference["kind"].lower(): to}
        token = self.token(namespace, name, audiences, seconds=seconds, **bound)
        ends = datetime.now(tz=UTC) + timedelta(seconds=seconds)  # noqa: TID251
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": f"{ends:%Y-%m-%dT%H:%M:%SZ}"},
        }

    def access_review(self, body: Object, user: User | None = None) -> Object:
        """Answer a SubjectAccessReview, or a SelfSubjectAccessReview of ``user``."""
        spec = body.get("spec") or {}
        who, groups = spec.get("user", ""), tuple(spec.get("groups") or ())
        if user is not None:
            who, groups = user.name, user.groups
        elif not who and not groups:
            problem = (
                "spec.user",
                "Invalid value: at least one of user or group must be specified",
            )
            raise invalid("SubjectAccessReview.authorization.k8s.io", "", problem)
        about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if (about is None) == (path is None):
            problem = ("spec", "Invalid value: want resourceAttributes or nonResourceAttributes")
            raise invalid("SubjectAccessReview.authorization.k8s.io", "", problem)
        allowed = self.allows(who, groups, _asked(about) if about else Asked(**(path or {})))
        return {**body, "status": {"allowed": allowed, "reason": ""}}

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


def _account(namespace: str, name: str, uid: str = "", extra: Any = None) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    called = f"system:serviceaccount:{namespace}:{name}"
    return User(called, (*groups, "system:authenticated"), uid, extra or {})


def _asked(about: Mapping[str, str]) -> Asked:
    plural, subresource = about.get("resource", ""), about.get("subresource", "")
    return Asked(
        about.get("verb", ""),
        about.get("group", ""),
        f"{plural}/{subresource}" if subresource else plural,
        about.get("namespace", ""),
        about.get("name", ""),
    )
