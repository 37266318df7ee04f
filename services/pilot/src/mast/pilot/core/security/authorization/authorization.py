"""All that AuthorizationPolicies put before one workload or gateway, as one value (pilot.md J4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """Filters of HTTP connection managers, and those of chains that carry bytes; in order."""

    http: Sequence[HttpFilter] = ()
    network: Sequence[Filter] = ()


NO_FILTERS: Final = Filters()


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What holds for one proxy; equal if all that it puts into listeners is.

    `custom` asks external authorizers, `rules` are those of the other actions. `holds` tells that
    there are policies at all.
    """

    digest: str = ""
    holds: bool = False
    custom: Filters = field(default=NO_FILTERS, compare=False)
    rules: Filters = field(default=NO_FILTERS, compare=False)


NO_AUTHORIZATION: Final = Authorization()


def authorization(scope: Scope, proxy: Proxy) -> Authorization:
    """What the policies of root and own namespace make of a proxy."""
    return NO_AUTHORIZATION
