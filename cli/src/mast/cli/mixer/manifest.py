"""The attributes that Istio's manifests declare."""

from __future__ import annotations

from importlib import resources

import yaml

from mast.common.expressions.types import ValueType


def declared() -> dict[str, ValueType]:
    """Types by name, of the manifests that a mesh starts with (mixer.md H)."""
    text = resources.files("mast.mixer").joinpath("defaults/telemetry.yaml").read_text()
    return {
        name: ValueType[described["valueType"]]
        for document in yaml.safe_load_all(text)
        if document["kind"] == "attributemanifest"
        for name, described in document["spec"]["attributes"].items()
    }
