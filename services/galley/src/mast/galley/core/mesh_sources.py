"""Where configuration comes from by the mesh's own settings (MeshConfig, "configSources"; A2)."""

from __future__ import annotations

from typing import Any

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.galley.core.objects import Defaults, read_json
from mast.galley.core.problem import errors


def mesh_sources(text: str, name: str) -> tuple[str, ...]:
    """Addresses in their order. ``text`` is the settings' YAML, ``name`` that of their file.

    Raises ValueError with every mistake: the settings cannot be read, or ask of a source what is
    not done here (TLS by other certificates than the mesh's, services without an API server).
    """
    content = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio"},
        "data": {"mesh": text},
    }
    reading = read_json(content, name, Defaults())
    wrong = [str(problem) for problem in errors(reading.problems)]
    sources = [each for obj in reading.objects for each in obj.spec.config_sources]
    for index, source in enumerate(sources):
        wrong += [f"{name}: configSources[{index}].{each}" for each in _complaints(source)]
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(_address(source.address) for source in sources)


def _complaints(source: Any) -> list[str]:
    found = []
    mode = source.tls_settings.mode
    if source.HasField("tls_settings") and mode != ClientTLSSettings.ISTIO_MUTUAL:
        name = ClientTLSSettings.TLSmode.Name(mode)
        found.append(f"tlsSettings.mode: {name} is not supported; allowed: ISTIO_MUTUAL")
    if source.subscribed_resources:
        found.append("subscribedResources: services come from API servers only")
    return found


def _address(text: str) -> str:
    """`k8s://` may name an API server in Istio; here that is the one of the flags."""
    return "k8s://" if text.startswith("k8s://") else text
