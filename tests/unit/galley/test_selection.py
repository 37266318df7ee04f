"""Selections of List and Watch, and the events they see."""

from __future__ import annotations

import pytest

from mast.common.keys import ConfigKey
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.events import Event, Events
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.resources import Unreadable, resource
from mast.galley.core.selection import BadSelection, selection

GATEWAY = BY_GROUP_KIND["networking.istio.io", "Gateway"]


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        pytest.param("", {}, True, id="none"),
        pytest.param("app=a", {"app": "a"}, True, id="equal"),
        pytest.param("app==a", {"app": "b"}, False, id="double-equal"),
        pytest.param(" app = a , v != 1 ", {"app": "a"}, True, id="absent-differs"),
        pytest.param("app=a,v!=1", {"app": "a", "v": "1"}, False, id="all-must-hold"),
        pytest.param("app", {"app": ""}, True, id="exists"),
        pytest.param("!app", {"app": ""}, False, id="absent"),
        pytest.param("! app", {}, True, id="absent-with-space"),
        pytest.param("app=", {"app": ""}, True, id="empty-value"),
        pytest.param("a.b/c=d", {"a.b/c": "d"}, True, id="prefixed-key"),
    ],
)
def test_label_selector(selector: str, labels: dict[str, str], matches: bool) -> None:
    assert selection((), "", selector).matches_labels(labels) is matches


def test_secrets_are_selected_where_they_stand() -> None:
    assert selection(["secret"], "", "").prefix == "secrets/"
    assert selection(["Secret"], "edge", "").prefix == "secrets/edge/"


@pytest.mark.parametrize(
    ("kinds", "selector", "message"),
    [
        pytest.param(["Gatway"], "", "unknown kind 'Gatway'; allowed: AuthorizationPolicy",
                     id="kind"),
        pytest.param(["Gateway", "Secret"], "", "Secret is kept apart", id="secrets-and-others"),
        pytest.param([], "a=b=c", "'a=b=c' is not key=value", id="two-equals"),
        pytest.param([], "a in (b)", "'a in \\(b\\)' is not key=value", id="set-based"),
        pytest.param([], "a=b c", "is not key=value", id="space"),
        pytest.param([], "a/b/c=d", "must be \\[prefix/\\]name", id="key"),
        pytest.param([], ",", "'' is not key=value", id="empty-part"),
    ],
)  # fmt: skip
def test_bad_selection(kinds: list[str], selector: str, message: str) -> None:
    with pytest.raises(BadSelection, match=message):
        selection(kinds, "", selector)


@pytest.mark.parametrize(
    ("kinds", "namespace", "prefix"),
    [
        pytest.param([], "", "config/", id="everything"),
        pytest.param(["Sidecar"], "", "config/istio/networking/v1alpha3/sidecars/", id="kind"),
        pytest.param(["gw"], "shop", "config/istio/networking/v1alpha3/gateways/shop/",
                     id="namespace"),
        pytest.param(["Gateway"], "shop", "config/", id="kind-of-two-groups"),
        pytest.param(["gateways.gateway.networking.k8s.io"], "shop",
                     "config/k8s/gateway_api/v1/gateways/shop/", id="plural-and-group"),
        pytest.param(["Gateway", "Sidecar"], "shop", "config/", id="kinds"),
        pytest.param(["MeshPolicy"], "shop", "config/istio/authentication/v1alpha1/meshpolicies/",
                     id="cluster-scoped"),
    ],
)  # fmt: skip
def test_prefix(kinds: list[str], namespace: str, prefix: str) -> None:
    assert selection(kinds, namespace, "").prefix == prefix


@pytest.mark.parametrize(
    ("kinds", "namespace", "expected"),
    [
        pytest.param(["MeshPolicy"], "shop", True, id="asked-for"),
        pytest.param(["MeshPolicy", "Sidecar"], "shop", True, id="among-others"),
        pytest.param(["Sidecar"], "shop", False, id="another-kind"),
        pytest.param([], "shop", False, id="everything-of-a-namespace"),
        pytest.param([], "", True, id="everything"),
    ],
)
def test_objects_without_namespace(kinds: list[str], namespace: str, expected: bool) -> None:
    kind = BY_GROUP_KIND["authentication.istio.io", "MeshPolicy"]
    key = ConfigKey(kind.collection, "", "default")
    assert selection(kinds, namespace, "").matches_key(key, kind) is expected


def value(labels: str = "{app: a}") -> bytes:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
        f"metadata: {{name: a, namespace: shop, labels: {labels}}}\n"
    )
    (obj,) = read_text(text, "-", Defaults()).objects
    return resource(obj, 1, None).SerializeToString()


KEY = "config/istio/networking/v1alpha3/gateways/shop/a"


@pytest.mark.parametrize(
    ("kinds", "namespace", "selector", "changes", "expected"),
    [
        pytest.param((), "", "", [value(), value("{}"), None],
                     [Event.ADDED, Event.MODIFIED, Event.DELETED], id="all"),
        pytest.param((), "", "app=a", [value(), value("{}"), value()],
                     [Event.ADDED, Event.DELETED, Event.ADDED], id="labels-come-and-go"),
        pytest.param((), "", "app=b", [value(), None], [], id="other-labels"),
        pytest.param(("Sidecar", "Telemetry"), "", "", [value()], [], id="other-kinds"),
        pytest.param((), "other", "", [value(), None], [], id="other-namespace"),
        pytest.param((), "", "", [None], [], id="deleted-before-known"),
    ],
)  # fmt: skip
def test_events(
    kinds: tuple[str, ...],
    namespace: str,
    selector: str,
    changes: list[bytes | None],
    expected: list[int],
) -> None:
    events = Events(selection(kinds, namespace, selector))
    seen: list[Event] = []
    before: bytes | None = None
    for revision, after in enumerate(changes, start=1):
        seen += events.changed(KEY, after, before, revision)
        before = after
    assert [event.type for event in seen] == expected
    assert all(event.object.metadata.name == "a" for event in seen)


def test_a_change_of_something_else_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        list(Events(selection((), "", "")).changed("config/x/y/z", b"", None, 1))
