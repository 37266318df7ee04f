"""What an agent is told of its proxy (PCDS): configuration, and the roots of its mesh."""

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.proxy_configs import configured
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.trust import pools


def proxy_config(scope: Scope, proxy: Proxy) -> ProxyConfig:
    """What mesh and ProxyConfig objects say, and the roots of the mesh's trust domains (A8, B3.4).

    What the proxy says of itself is not in it: that is for the agent to put over it.
    """
    result = configured(scope, proxy)
    roots = pools(scope.trust)
    result.ca_certificates_pem.extend(
        roots[each].decode() for each in scope.mesh.trust_domains if each in roots
    )
    return result
