"""Messages that nobody wants to hear."""

from __future__ import annotations

import pytest

from mast.galley.core.analysis.snapshot import Item, Message
from mast.galley.core.analysis.suppression import suppression

POD = Item("Pod", "shop", "web-1")
NAMESPACE = Item("Namespace", "", "shop")


@pytest.mark.parametrize(
    ("text", "item", "covered"),
    [
        pytest.param("IST0103=Pod shop/web-1", POD, True, id="whole"),
        pytest.param("IST0103 = Pod shop/*", POD, True, id="wildcard"),
        pytest.param("IST0103=*", POD, True, id="anything"),
        pytest.param("IST0103=Pod web-1.shop", POD, True, id="as-istio-once-wrote-it"),
        pytest.param("IST0103=Pod *.shop", POD, True, id="wildcard-as-once"),
        pytest.param("IST0103=Pod shop/web", POD, False, id="beginning-only"),
        pytest.param("IST0103=Pod shop.web-1", POD, False, id="dot-is-a-dot"),
        pytest.param("IST0102=Pod shop/web-1", POD, False, id="other-code"),
        pytest.param("IST0103=Namespace shop", NAMESPACE, True, id="cluster-scoped"),
        pytest.param("IST0103=*", None, False, id="about-nothing"),
    ],
)
def test_covers(text: str, item: Item | None, covered: bool) -> None:
    assert suppression(text).covers(Message("IST0103", item, "no proxy")) is covered


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("IST0103", "no suppression", id="no-object"),
        pytest.param("IST0103= ", "no suppression", id="empty-object"),
        pytest.param("IST9999=Pod a/b", "no code", id="unknown-code"),
    ],
)
def test_what_is_no_suppression(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        suppression(text)


@pytest.mark.parametrize(
    ("value", "suppressed"),
    [
        pytest.param("*", True, id="all"),
        pytest.param("IST0101,IST0103", True, id="listed"),
        pytest.param("IST0101", False, id="others"),
        pytest.param("", False, id="none"),
    ],
)
def test_annotation(value: str, suppressed: bool) -> None:
    item = Item("Pod", "shop", "a", annotations={"galley.istio.io/analyze-suppress": value})
    assert item.suppresses("IST0103") is suppressed
