"""What stands before a gateway: proxies whose word counts (ProxyConfig, "gatewayTopology")."""

from google.protobuf.json_format import ParseDict, ParseError

from istio.mesh.v1alpha1.proxy_pb2 import Topology
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.proxy import Proxy


def gateway_topology(mesh: Mesh, proxy: Proxy) -> Topology:
    """The proxy's own settings over those of `defaultConfig`, field by field.

    Its own come with the metadata `PROXY_CONFIG`; what cannot be understood there does not count.
    """
    found = Topology()
    found.CopyFrom(mesh.config.default_config.gateway_topology)
    config = proxy.metadata.get("PROXY_CONFIG")
    own = config.get("gatewayTopology") if isinstance(config, dict) else None
    if isinstance(own, dict):
        try:
            found.MergeFrom(ParseDict(own, Topology(), ignore_unknown_fields=True))
        except ParseError:
            return found
    return found
