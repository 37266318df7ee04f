"""Headers that reports have because Mixer's configuration reads them (mixer_proxy.md K, C18)."""

import pytest

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import LDS
from tests.support.mesh_yaml import changes, sidecar_proxy, world

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {mixerReportServer: "istio-telemetry.istio-system.svc.cluster.local:15004"}}
"""
OBJECT = """
apiVersion: config.istio.io/v1alpha2
kind: %s
metadata: {name: x, namespace: %s}
spec: %s
"""
METRIC = (
    '{compiledTemplate: metric, params: {dimensions: {user: \'request.headers["x-user"] | ""\'}}}'
)


def logged(found: World, name: str, namespace: str = "shop") -> bool:
    """Whether reports of a sidecar have a header."""
    proxy: Proxy = sidecar_proxy(namespace)
    listener = found.snapshot(1).view(proxy).collection(LDS).resources["virtualInbound"]
    return name.encode() in listener.body


@pytest.mark.parametrize(
    ("kind", "spec", "name", "expected"),
    [
        pytest.param("instance", METRIC, "x-user", True, id="instance"),
        pytest.param("rule", "{match: 'request.headers[`x-user`] == \"a\"'}", "x-user", True,
                     id="match"),
        pytest.param("logentry", "{variables: {a: 'response.headers[\"x-cache\"]'}}", "x-cache",
                     True, id="legacy-kind-response"),
        pytest.param("HTTPAPISpec", "{apiKeys: [{header: X-Key}], patterns: [{uriTemplate: /}]}",
                     "x-key", True, id="key-of-an-api"),
        pytest.param("instance", METRIC.replace(": metric", ": quota"), "x-user", False,
                     id="no-report-is-made-of-quotas"),
        pytest.param("instance", METRIC.replace("x-user", "cookie"), "cookie", False, id="secret"),
        pytest.param("instance", METRIC.replace("x-user", "X-User"), "X-User", False,
                     id="no-header-is-named-so"),
    ],
)  # fmt: skip
def test_headers_that_are_read_are_logged(kind: str, spec: str, name: str, expected: bool) -> None:
    """Of rules, instances of both generations and APIs; secrets never."""
    assert logged(world(MESH, OBJECT % (kind, "shop", spec)), name) is expected


def test_they_follow_the_configuration_of_the_root_and_the_own_namespace() -> None:
    found = world(MESH)
    assert not logged(found, "x-user")
    found.apply(changes(OBJECT % ("instance", "istio-system", METRIC)))
    assert logged(found, "x-user")
    found = world(MESH, OBJECT % ("instance", "other", METRIC))
    assert not logged(found, "x-user")
    assert logged(found, "x-user", "other")
    assert logged(found, "x-b3-traceid")


def test_without_reports_nothing_is_read() -> None:
    assert not logged(world(OBJECT % ("instance", "shop", METRIC)), "x-user")
