"""What the configuration compiler reads, and what it has to say about it (mixer.md D1, D7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from mast.mixer.core.config.names import fqn

# Selects the language of an object's expressions (D12).
LANGUAGE_ANNOTATION = "policy.istio.io/lang"


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration object: its kind (``rule``, ``handler``, ``metric``…), name and spec.

    ``generation`` counts how often it was written.
    """

    kind: str
    namespace: str
    name: str
    spec: Message
    annotations: Mapping[str, str] = field(default_factory=dict)
    generation: str = ""

    @property
    def fqn(self) -> str:
        """``name.kind.namespace``."""
        return fqn(self.name, self.kind, self.namespace)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong with an object: its FQN, the field within it, and what (D7)."""

    resource: str
    field: str
    text: str

    def __str__(self) -> str:
        where = f"{self.resource}: {self.field}" if self.field else self.resource
        return f"{where}: {self.text}"
