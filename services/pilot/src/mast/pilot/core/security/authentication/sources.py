"""Which keys have to be fetched for the policies of a mesh (pilot.md J3)."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.public_keys import KeyFetching, KeySource, key_source
from mast.pilot.core.security.authentication.keys import PORTS, fetch_timeout

COLLECTIONS: Final = (
    collection_names.REQUEST_AUTHENTICATIONS,
    collection_names.POLICIES,
    collection_names.MESH_POLICIES,
)
"""Kinds of objects with rules about tokens."""

_LONGEST: Final = timedelta(minutes=1)
"""A fetch holds one of few slots."""


def wanted_sources(index: Index) -> Mapping[KeySource, timedelta]:
    """What Pilot fetches for all policies of the mesh, and how long a fetch may take at most.

    Issuers that are no URL have no OpenID configuration: keys of theirs stand in policies only.
    """
    found: dict[KeySource, timedelta] = {}
    for collection in COLLECTIONS:
        for config in index.collections.get(collection, ()):
            for _, rule in token_rules(config.spec):
                source = key_source(rule)
                if source is not None and _is_fetched(source, index):
                    timeout = min(fetch_timeout(rule), _LONGEST)
                    found[source] = max(timeout, found.get(source, timeout))
    return found


def token_rules(spec: Any) -> Iterator[tuple[str, Any]]:
    """The rules about tokens of a RequestAuthentication, or of a Policy of Istio 1.0 to 1.4.

    Each with its place in the specification.
    """
    if "jwt_rules" in spec.DESCRIPTOR.fields_by_name:
        yield from ((f"jwtRules[{index}]", rule) for index, rule in enumerate(spec.jwt_rules))
        return
    for name in ("peers", "origins"):
        for index, method in enumerate(getattr(spec, name)):
            if method.HasField("jwt"):
                yield f"{name}[{index}].jwt", method.jwt


def is_url(source: KeySource) -> bool:
    """There is something to fetch; issuers may have any name."""
    return source.url.startswith(("http://", "https://"))


def _is_fetched(source: KeySource, index: Index) -> bool:
    """Pilot fetches it: it is a URL, and not the proxies' task."""
    if not is_url(source):
        return False
    fetching = index.mesh.key_fetching
    if not source.jwks_uri or fetching is KeyFetching.PILOT:
        return True
    return fetching is KeyFetching.HYBRID and not _is_reached(source.jwks_uri, index)


def _is_reached(uri: str, index: Index) -> bool:
    """Every proxy without a Sidecar reaches the host of a URI as a service of the mesh."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return False
    services = index.services.get(host, ())
    return any(each.visible_to.everyone and each.port(port) is not None for each in services)
