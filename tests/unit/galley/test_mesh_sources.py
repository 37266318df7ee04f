"""Sources by the mesh's own settings (A2, "configSources")."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mast.galley.config import Config
from mast.galley.core.mesh_sources import mesh_sources
from mast.galley.sources import with_mesh_sources


def test_in_their_order() -> None:
    text = """
trustDomain: a.com
configSources:
- address: fs:///etc/mesh
- address: k8s://kubernetes.default
- {address: "xds://galley:9901", tlsSettings: {mode: ISTIO_MUTUAL}}
"""
    assert mesh_sources(text, "mesh") == ("fs:///etc/mesh", "k8s://", "xds://galley:9901")
    assert mesh_sources("trustDomain: a.com", "mesh") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("configSources: 7", ["configSources"]),
        ("a: [", ["YAML"]),
        (
            "configSources: [{address: 'xds://a:1', tlsSettings: {mode: SIMPLE}}]",
            ["mesh: configSources[0].tlsSettings.mode: SIMPLE", "ISTIO_MUTUAL"],
        ),
        (
            "configSources: [{address: 'xds://a:1', subscribedResources: [SERVICE_REGISTRY]}]",
            ["configSources[0].subscribedResources"],
        ),
    ],
)
def test_mistakes_are_named(text: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match="mesh") as refusal:
        mesh_sources(text, "mesh")
    assert all(word in str(refusal.value) for word in words)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mesh"
    path.write_text("configSources: [{address: 'fs:///one'}]")
    config = Config(mesh_config_file=path)
    assert with_mesh_sources(config).config_sources == ("fs:///one",)
    for flags in ({"config_sources": ("k8s://",)}, {"config_dir": tmp_path}):
        own = replace(config, **flags)
        assert with_mesh_sources(own) == own
    path.write_text("configSources: [{address: 'ftp://one'}]")
    with pytest.raises(ValueError, match="'ftp://one' is not allowed"):
        with_mesh_sources(config)
