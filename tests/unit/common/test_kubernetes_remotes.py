"""Which clusters the Secrets of the mesh's namespace tell of (galley-and-kubernetes.md D3)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mast.common.kubernetes.remotes import Ignored, remote_clusters


def secret(name: str, created: str = "2026-01-01T00:00:00Z", **data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    metadata = {"namespace": "istio-system", "name": name, "creationTimestamp": created}
    return {"metadata": metadata, "data": encoded}


OWN = "it is the id of the own cluster"
SAME = "the Secret istio-system/{} has the same id".format
OLDER = "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("secrets", "wanted", "ignored"),
    [
        pytest.param([], {}, [], id="none"),
        pytest.param([secret("a", east="1", west="2")], {"east": "a", "west": "a"}, [], id="two"),
        pytest.param([secret("a", own="1")], {}, [("own", "a", OWN)], id="own"),
        pytest.param([secret("a", east="1"), secret("b", OLDER, east="2")], {"east": "b"},
                     [("east", "a", SAME("b"))], id="the-oldest"),
        pytest.param([secret("b", east="1"), secret("a", east="2")], {"east": "a"},
                     [("east", "b", SAME("a"))], id="then-the-first"),
        pytest.param([secret("a", east="")], {},
                     [("east", "a", "it is empty, or no base64")], id="empty"),
        pytest.param([{**secret("a"), "data": {"east": "%"}}], {},
                     [("east", "a", "it is empty, or no base64")], id="no-base64"),
        pytest.param([{**secret("a"), "data": None}], {}, [], id="no-data"),
    ],
)  # fmt: skip
def test_clusters(
    secrets: list[dict[str, Any]], wanted: dict[str, str], ignored: list[tuple[str, str, str]]
) -> None:
    for given in (secrets, secrets[::-1]):
        found = remote_clusters(given, "own")
        places = {cluster: f"istio-system/{name}" for cluster, name in wanted.items()}
        assert {each.cluster: each.secret for each in found.wanted.values()} == places
        assert list(found.ignored) == [
            Ignored(cluster, f"istio-system/{name}", reason) for cluster, name, reason in ignored
        ]


def test_kubeconfigs_are_not_shown() -> None:
    found = remote_clusters([secret("a", east="token: t0p")], "own").wanted["east"]
    assert found.kubeconfig == b"token: t0p"
    assert "t0p" not in repr(found)
