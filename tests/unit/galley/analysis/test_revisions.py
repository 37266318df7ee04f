"""Configuration of other revisions is left out; what they inject is not."""

from __future__ import annotations

import pytest

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.revisions import of_revision
from mast.galley.core.analysis.snapshot import Item


@pytest.mark.parametrize(
    ("kind", "labels", "is_left"),
    [
        pytest.param(kinds.VIRTUAL_SERVICE, {}, True, id="of-all"),
        pytest.param(kinds.VIRTUAL_SERVICE, {"istio.io/rev": "blue"}, True, id="own"),
        pytest.param(kinds.VIRTUAL_SERVICE, {"istio.io/rev": "green"}, False, id="other"),
        pytest.param(kinds.NAMESPACE, {"istio.io/rev": "green"}, True, id="namespace"),
        pytest.param(kinds.POD, {"istio.io/rev": "green"}, True, id="pod"),
    ],
)
def test_of_revision(kind: str, labels: dict[str, str], is_left: bool) -> None:
    item = Item(kind, "shop", "a", labels, {}, None)
    assert of_revision([item], "blue") == ([item] if is_left else [])
