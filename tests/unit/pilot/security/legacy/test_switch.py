"""Whether access is controlled by roles (pilot.md J7)."""

import pytest

from mast.pilot.core.security.legacy.switch import Enforcement, enforcement
from tests.support.legacy_objects import HOST, destination, obj, switch
from tests.support.mesh_yaml import scope, sidecar_proxy

ON, TRIED = Enforcement.ENFORCED, Enforcement.PERMISSIVE


def old(spec: str, namespace: str = "istio-system", name: str = "default") -> str:
    return obj("RbacConfig", name, spec, namespace)


def target(kind: str, field: str, value: str) -> str:
    mode = f"ON_WITH_{kind.upper()}"
    return switch(f"{{mode: {mode}, {kind}: {{{field}: [{value}]}}}}")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([switch("{}")], None, id="off"),
        pytest.param([switch()], ON, id="on"),
        pytest.param([switch("{mode: ON, enforcementMode: PERMISSIVE}")], TRIED, id="tried"),
        pytest.param([target("inclusion", "services", HOST)], ON, id="included"),
        pytest.param([target("inclusion", "services", "web.shop")], ON, id="included-by-name"),
        pytest.param([target("inclusion", "services", "web")], None, id="name-without-namespace"),
        pytest.param([target("inclusion", "services", "web.other")], None, id="not-included"),
        pytest.param([target("inclusion", "services", "'*.shop'")], None, id="no-wildcards"),
        pytest.param([target("inclusion", "namespaces", "shop")], ON, id="namespace-included"),
        pytest.param([target("inclusion", "namespaces", "other")], None, id="other-namespace"),
        pytest.param([target("exclusion", "services", HOST)], None, id="excluded"),
        pytest.param([target("exclusion", "namespaces", "shop")], None, id="namespace-excluded"),
        pytest.param([target("exclusion", "services", "web.other")], ON, id="not-excluded"),
        pytest.param([switch("{mode: ON_WITH_INCLUSION}")], None, id="nothing-included"),
        pytest.param([switch("{mode: ON_WITH_EXCLUSION}")], ON, id="nothing-excluded"),
        pytest.param([old("{mode: ON}")], ON, id="old-kind"),
        pytest.param([old("{mode: ON}", "any")], ON, id="old-kind-anywhere"),
        pytest.param([old("{mode: ON}", name="other")], None, id="other-name"),
        pytest.param([old("{mode: ON}", "any"), old("{}")], None, id="root-namespace-first"),
        pytest.param([old("{mode: ON}", "b"), old("{}", "a")], ON, id="oldest"),
        pytest.param([old("{mode: ON}"), switch("{}")], None, id="cluster-kind-first"),
    ],
)
def test_enforcement(texts: list[str], expected: Enforcement | None) -> None:
    assert enforcement(scope(sidecar_proxy(), *texts), destination()) is expected


def test_the_default_namespace_has_no_part_in_names() -> None:
    """`services` of the switch are for the whole mesh."""
    seen = scope(sidecar_proxy("other"), target("inclusion", "services", "web.shop"))
    assert enforcement(seen, destination()) is ON
