"""Requests that a proxy reads in one way and a server may read in another (decision 0022).

Differs from Istio: where rules of access hold, such requests are refused.
"""

from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.packing import packed

AMBIGUOUS_HOST: Final = "mast-ambiguous-host"
AMBIGUOUS_PATH: Final = "mast-ambiguous-path"
OWN_RULES: Final = frozenset({AMBIGUOUS_HOST, AMBIGUOUS_PATH})
"""Rules that no policy stands behind, by their names in Envoy."""

_FILTER: Final = "envoy.filters.http.rbac"
_SEVERAL_HOSTS: Final = ".*[,@].*"
"""Several Host lines, which Envoy joins, or somebody's name before the host."""
_DOTS_WITH_PARAMETERS: Final = r".*/\.\.?;.*"
"""What is left of `/%2e%2e;/` after normalisation: servers of Java go up a directory there."""


def single_reading(mesh: Mesh) -> HttpFilter:
    """The filter that refuses such requests with 403.

    Paths are let alone in a mesh that does not normalise them (MeshConfig "pathNormalization").
    """
    rules = RBAC(action=RBAC.DENY)
    several = HeaderMatcher(name=":authority", string_match=_regex(_SEVERAL_HOSTS))
    rules.policies[AMBIGUOUS_HOST].CopyFrom(_whoever(Permission(header=several)))
    if mesh.config.path_normalization.normalization != MeshConfig.ProxyPathNormalization.NONE:
        climbing = PathMatcher(path=_regex(_DOTS_WITH_PARAMETERS))
        rules.policies[AMBIGUOUS_PATH].CopyFrom(_whoever(Permission(url_path=climbing)))
    return HttpFilter(name=_FILTER, typed_config=packed(HttpRbac(rules=rules)))


def _whoever(asks: Permission) -> Policy:
    return Policy(permissions=[asks], principals=[Principal(any=True)])


def _regex(regex: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=regex))
