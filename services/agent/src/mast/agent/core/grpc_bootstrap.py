"""The bootstrap of gRPC libraries that speak xDS themselves (pilot.md B29)."""

from typing import Any, Final

from mast.agent.core import paths
from mast.agent.core.node import Node

SERVER_LISTENERS: Final = "xds.istio.io/grpc/lds/inbound/%s"
REFRESH: Final = "900s"


def grpc_bootstrap(node: Node, xds_socket: str, certificates: str) -> dict[str, Any]:
    """What ``GRPC_XDS_BOOTSTRAP`` names: ADS over the agent's socket, certificates in files.

    ``xds_socket`` is an absolute path; ``certificates`` a directory (``OUTPUT_CERTS``), empty for
    plaintext only.
    """
    locality = node.locality
    result: dict[str, Any] = {
        "xds_servers": [
            {
                "server_uri": f"unix://{xds_socket}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "metadata": {**node.metadata, "GENERATOR": "grpc"},
            "locality": {
                "region": locality.region,
                "zone": locality.zone,
                "sub_zone": locality.subzone,
            },
        },
        "server_listener_resource_name_template": SERVER_LISTENERS,
    }
    if certificates:
        result["certificate_providers"] = {
            "default": {
                "plugin_name": "file_watcher",
                "config": {
                    "certificate_file": f"{certificates}/{paths.CHAIN_FILE}",
                    "private_key_file": f"{certificates}/{paths.KEY_FILE}",
                    "ca_certificate_file": f"{certificates}/{paths.ROOT_FILE}",
                    "refresh_interval": REFRESH,
                },
            }
        }
    return result
