"""Trust bundles as agents get them (citadel-and-agent.md A3, A8.3)."""

from __future__ import annotations

from mast.common import keys
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import TBDS
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.support.mesh_yaml import Put, changes, sidecar_proxy

ALIASES = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {trustDomainAliases: [old-name, b.example]}
"""


def stored(domain: str, *roots: str, sequence: int = 1) -> Put:
    bundle = TrustBundle(trust_domain=domain, sequence=sequence)
    for pem in roots:
        bundle.roots.add(pem=pem, state=Root.ACTIVE)
    return Put(f"{keys.TRUST}{domain}", bundle.SerializeToString())


def told(mesh: World) -> dict[str, TrustBundle]:
    view = mesh.snapshot(1).view(sidecar_proxy())
    return {each.name: TrustBundle.FromString(each.body) for each in view.collection(TBDS)}


def test_every_domain_and_our_own_roots_for_aliases() -> None:
    mesh = World()
    assert told(mesh) == {}
    mesh.apply(changes(ALIASES))
    assert told(mesh) == {}, "nobody vouches for an alias yet"
    mesh.apply([stored("cluster.local", "ours", sequence=7), stored("b.example", "theirs")])
    found = told(mesh)
    assert [(name, [root.pem for root in each.roots]) for name, each in found.items()] == [
        ("b.example", ["theirs"]),
        ("cluster.local", ["ours"]),
        ("old-name", ["ours"]),
    ]
    assert all(name == each.trust_domain for name, each in found.items())
    assert found["cluster.local"].sequence == 7


def test_all_proxies_share_the_same_resources() -> None:
    mesh = World()
    mesh.apply([stored("cluster.local", "ours")])
    snapshot = mesh.snapshot(1)
    one, two = (
        snapshot.view(sidecar_proxy(namespace=name)).collection(TBDS) for name in ("a", "b")
    )
    assert one is two
    mesh.apply([stored("c.example", "new")])
    assert mesh.snapshot(2).view(sidecar_proxy()).collection(TBDS) is not one
