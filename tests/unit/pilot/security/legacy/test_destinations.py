"""What rules know of a destination (pilot.md J7)."""

import pytest

from mast.pilot.core.model.model import Service
from mast.pilot.core.security.legacy.destinations import (
    Destination,
    destination,
    fits,
    fits_any,
    is_named,
    short_name,
)
from tests.support.legacy_objects import HOST, service
from tests.support.mesh_yaml import sidecar_proxy


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        pytest.param(HOST, True, id="full"),
        pytest.param("web", True, id="short"),
        pytest.param("web.shop", True, id="with-namespace"),
        pytest.param("web.shop.svc", True, id="with-svc"),
        pytest.param("web.other", False, id="other-namespace"),
        pytest.param("other", False, id="other"),
        pytest.param("*", True, id="any"),
        pytest.param("web*", True, id="prefix"),
        pytest.param("*.cluster.local", True, id="suffix"),
        pytest.param("shop*", False, id="other-prefix"),
        pytest.param("*web", False, id="suffix-of-the-full-name"),
    ],
)
def test_names_of_services(pattern: str, named: bool) -> None:
    assert is_named(pattern, HOST, "shop", "cluster.local") is named


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        pytest.param("a", "a", True, id="exact"),
        pytest.param("a", "ab", False, id="not-exact"),
        pytest.param("a*", "ab", True, id="prefix"),
        pytest.param("*b", "ab", True, id="suffix"),
        pytest.param("b*", "ab", False, id="no-prefix"),
        pytest.param("*", "", True, id="empty"),
    ],
)
def test_values(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected
    assert fits_any(["x", pattern], text) is expected


@pytest.mark.parametrize(
    ("made", "name"),
    [
        pytest.param(service(), "web", id="of-its-host"),
        pytest.param(service(host="a.test"), "a.test", id="host-of-no-platform"),
        pytest.param(Service(host="x.y", namespace="a", ports=(), name="z"), "z", id="its-own"),
    ],
)
def test_short_names(made: Service, name: str) -> None:
    assert short_name(made) == name


def test_a_service_as_a_workload_serves_it() -> None:
    proxy = sidecar_proxy("shop", labels={"app": "web"}, SERVICE_ACCOUNT="robot")
    found = destination(service(), proxy)
    assert found == Destination(
        host=HOST, name="web", namespace="shop", user="robot", labels=proxy.labels
    )
    assert found.labels["app"] == "web"
