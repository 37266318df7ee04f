"""Telemetry objects that name nobody to send to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.snapshot import Message, View

_NO_PROVIDER = "IST0157"


def _providers(view: View) -> Iterator[Message]:
    settings = view.fact(MESH).settings
    default = settings.default_providers
    traced = default.tracing or settings.default_config.HasField("tracing")
    logged = default.access_logging or settings.access_log_file
    for item in view.of(kinds.TELEMETRY):
        for index, entry in enumerate(item.body.tracing):
            if not (traced or entry.providers or entry.disable_span_reporting.value):
                yield _message(item, "tracing", index)
        for index, entry in enumerate(item.body.access_logging):
            if not (logged or entry.providers or entry.disabled.value):
                yield _message(item, "accessLogging", index)


def _message(item: Any, field: str, index: int) -> Message:
    text = f"{field}[{index}] names no provider, and the mesh has no default one"
    return Message(_NO_PROVIDER, item, text, ("spec", field, index))


ANALYZERS = (
    Analyzer(
        "telemetry.providers",
        "Telemetry objects have somebody to send to.",
        frozenset({_NO_PROVIDER}),
        frozenset({kinds.TELEMETRY, kinds.MESH_CONFIG}),
        _providers,
    ),
)
