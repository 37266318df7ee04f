"""Records of reports, many of which agree in almost everything: that is worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mast.mixer.core.values import Value

VARYING = frozenset(
    {
        "request.headers",
        "request.id",
        "request.path",
        "request.query_params",
        "request.referer",
        "request.size",
        "request.time",
        "request.total_size",
        "request.url_path",
        "response.duration",
        "response.grpc_message",
        "response.grpc_status",
        "response.headers",
        "response.size",
        "response.time",
        "response.total_size",
    }
)
"""What records of one kind may differ in."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What all records of a kind have in common. Two kinds may be equal in that."""

    shared: Mapping[str, Value]


class Record(dict[str, Value]):
    """The attributes of one record: those of its kind, and of :data:`VARYING` its own."""

    __slots__ = ("kind",)

    def __init__(self, kind: Kind, own: Mapping[str, Value]) -> None:
        super().__init__(kind.shared)
        self.update(own)
        self.kind = kind
