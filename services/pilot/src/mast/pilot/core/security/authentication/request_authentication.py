"""RequestAuthentication: the policies of a workload or gateway, united in one filter (J2)."""

from collections.abc import Iterator, Sequence

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.security.v1beta1.request_authentication_pb2 import RequestAuthentication
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.attachments import attached
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.token_checks import token_check


def request_authentication(scope: Scope, proxy: Proxy) -> Sequence[HttpFilter]:
    """The filter for all policies of root and own namespace that are for the proxy, if any is.

    All count, whatever their selectors. Rules of one issuer keep the order of their policies: root
    namespace first, oldest first.
    """
    rules = [rule for policy in policies(scope, proxy) for rule in policy.spec.jwt_rules]
    rules.sort(key=lambda each: each.issuer)
    return [token_check(scope, proxy, rules)] if rules else []


def policies(scope: Scope, proxy: Proxy) -> Iterator[Config[RequestAuthentication]]:
    """Those that are for the proxy and have rules; of the root namespace first, oldest first."""
    for each in scope.policies(collection_names.REQUEST_AUTHENTICATIONS):
        if each.spec.jwt_rules and attached(each, proxy):
            yield each
