"""The ProxyConfig of a proxy: of the mesh, of objects by level, of its own (B1, A8)."""

import pytest

from mast.pilot.core.scope.proxy_configs import configured, effective
from tests.support.mesh_yaml import scope, sidecar_proxy

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {defaultConfig: {concurrency: 1, meshId: m, proxyMetadata: {A: mesh, B: mesh, C: mesh}}}}
"""


def config(name: str, spec: str, namespace: str = "shop") -> str:
    return f"""
{{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig,
 metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}
"""


def test_levels() -> None:
    proxy = sidecar_proxy(labels={"app": "web"})
    where = scope(
        proxy,
        MESH,
        config("root", "concurrency: 2, environmentVariables: {A: root, B: root}", "istio-system"),
        config("all", "environmentVariables: {A: shop, D: shop}"),
        config("younger", "concurrency: 9"),
        config("web", "selector: {matchLabels: {app: web}}, image: {imageType: debug}"),
        config("db", "selector: {matchLabels: {app: db}}, concurrency: 7"),
        config("elsewhere", "concurrency: 8", "other"),
    )
    found = configured(where, proxy)
    assert found.concurrency.value == 2
    assert dict(found.proxy_metadata) == {"A": "shop", "B": "root", "C": "mesh", "D": "shop"}
    assert (found.image.image_type, found.mesh_id) == ("debug", "m")
    assert found.termination_drain_duration.seconds == 5


@pytest.mark.parametrize(
    ("own", "concurrency"),
    [
        pytest.param({"concurrency": 4.0}, 4, id="number-of-a-struct"),
        pytest.param({"concurrency": "many"}, 1, id="nonsense"),
        pytest.param({"unheardOf": 1}, 1, id="unknown"),
        pytest.param("text", 1, id="no-object"),
    ],
)
def test_its_own_field_by_field(own: object, concurrency: int) -> None:
    proxy = sidecar_proxy(PROXY_CONFIG=own)
    found = effective(scope(proxy, MESH), proxy)
    assert found.concurrency.value == concurrency
    assert found.mesh_id == "m"


def test_its_own_variables_meet_others() -> None:
    proxy = sidecar_proxy(PROXY_CONFIG={"proxyMetadata": {"A": "own"}, "meshId": "x"})
    found = effective(scope(proxy, MESH), proxy)
    assert dict(found.proxy_metadata) == {"A": "own", "B": "mesh", "C": "mesh"}
    assert found.mesh_id == "x"
