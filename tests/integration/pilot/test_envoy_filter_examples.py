"""The examples of docs/envoyfilter.md work: Galley, Pilot and Envoy take each of them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.problem import errors
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.world.patched_view import PatchedView
from mast.pilot.core.xds.resources import BOOTSTRAP, ECDS
from tests.support.envoy_feed import envoy_feed
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import sidecar_proxy, world

PAGE = Path(__file__).parents[3] / "docs" / "envoyfilter.md"
MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  addresses: [10.9.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: web}}
---
"""


def examples() -> dict[str, str]:
    """The YAML of the page by the name of its object."""
    texts = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return {yaml.safe_load(each)["metadata"]["name"]: each for each in texts}


async def test_every_example_works(tmp_path: Path) -> None:
    proxy = sidecar_proxy(labels={"app": "web"})
    plain = resources_of(world(MESH).snapshot(1).view(proxy))
    found = examples()
    assert len(found) == 7
    async with envoy_feed(tmp_path) as feed:
        for name, text in found.items():
            problems = judge(read_text(text, name, Defaults())).problems
            assert errors(problems) == [], name
            assert {each.rule for each in problems} == {"envoy-filter"}, name
            # The feed serves no extensions: Envoy need not wait long for them.
            snapshot = world(MESH, text.replace("timeout: 5s", "timeout: 0.1s")).snapshot(1)
            view = snapshot.view(proxy)
            assert isinstance(view, PatchedView), name
            resources = resources_of(view)
            added = [*view.collection(BOOTSTRAP), *view.collection(ECDS)]
            assert resources != plain or added, name
            assert [
                each for each in snapshot.findings([proxy]) if each.fault is Fault.PATCH
            ] == [], name
            assert await feed.give(resources) == [], name
