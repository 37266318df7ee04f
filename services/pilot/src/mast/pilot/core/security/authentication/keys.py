"""Where the keys of a rule come from: the rule, what Pilot fetched, or the proxy itself (J3)."""

from datetime import timedelta
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from mast.common.jwks import NotAKeySet, key_set
from mast.pilot.core import names
from mast.pilot.core.model.public_keys import KeyFetching, key_source
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.providers import Keys, LocalKeys, RemoteKeys

FETCH_TIMEOUT: Final = timedelta(seconds=5)

PORTS: Final = {"http": 80, "https": 443}
"""Of URIs that name none."""


def keys_of(scope: Scope, rule: Any) -> Keys:
    """What the proxy verifies tokens of a rule with.

    `rule` is as for `key_source`, with a `timeout` where its kind has one. Sets are written anew,
    so that Envoy takes them (see `mast.common.jwks`); without any usable key there are none.
    """
    source = key_source(rule)
    if source is None:
        return LocalKeys(_usable(rule.jwks))
    fetching = scope.mesh.key_fetching
    if source.jwks_uri and fetching is not KeyFetching.PILOT:
        remote = remote_keys(scope, source.jwks_uri, fetch_timeout(rule))
        if remote is not None or fetching is KeyFetching.ENVOY:
            return remote or LocalKeys()
    return LocalKeys(scope.public_keys(source).text)


def remote_keys(scope: Scope, uri: str, timeout: timedelta) -> RemoteKeys | None:
    """Keys that the proxy fetches, None if the host of the URI is no service that it knows."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    service = scope.service(host)
    if service is None or service.port(port) is None:
        return None
    return RemoteKeys(uri, names.outbound_cluster(port, "", service.host), timeout)


def fetch_timeout(rule: Any) -> timedelta:
    """How long a fetch of the keys of a rule may take (Istio JWTRule, "timeout")."""
    if "timeout" in rule.DESCRIPTOR.fields_by_name and rule.HasField("timeout"):
        found: timedelta = rule.timeout.ToTimedelta()
        return found
    return FETCH_TIMEOUT


@lru_cache(maxsize=4096)
def _usable(text: str) -> str:
    try:
        found = key_set(text, published=False)
    except NotAKeySet:
        return ""
    return found.text if found.number else ""
