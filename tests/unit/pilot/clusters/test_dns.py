"""Clusters and filters that resolve names (pilot.md B16, D)."""

from mast.pilot.core.xds.resources import CDS, LDS
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import sidecar_proxy, world

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec:
  hosts: ["*.example.com"]
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
"""


def test_nothing_that_changes_is_in_the_cache_of_a_forward_proxy() -> None:
    """Envoy refuses a cache of a known name that is configured otherwise."""
    changed = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {dnsRefreshRate: 1s}
"""
    proxy = sidecar_proxy()
    one, other = (world(*texts).snapshot().view(proxy) for texts in ((ENTRY,), (ENTRY, changed)))
    assert "outbound|443||*.example.com" in resources_of(one).clusters
    for type_url in (CDS, LDS):
        assert one.collection(type_url).version == other.collection(type_url).version
