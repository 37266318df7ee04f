"""The attributes that expressions may use, and the cache of compiled ones (mixer.md D5, E27)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from istio.policy.v1beta1.cfg_pb2 import AttributeManifest
from mast.common.expressions.tree import ExpressionError
from mast.common.expressions.types import ValueType
from mast.mixer.core.config.entry import LANGUAGE_ANNOTATION, Entry
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.expression import Expression, Types

_Key: TypeAlias = tuple[str, Dialect, tuple[tuple[str, ValueType], ...]]
_Known: TypeAlias = Expression | ExpressionError


def united(manifests: Iterable[Entry]) -> dict[str, ValueType]:
    """The attributes of all manifests; of a name declared twice the last in FQN order counts."""
    types: dict[str, ValueType] = {}
    for entry in sorted(manifests, key=lambda each: each.fqn):
        assert isinstance(entry.spec, AttributeManifest)  # noqa: S101  the store decodes by kind
        for name, described in entry.spec.attributes.items():
            if described.value_type:
                types[name] = ValueType(described.value_type)
    return types


class Expressions:
    """Compiles expressions over one set of attributes, each text once.

    What the configuration before had compiled is taken over when it is asked for, so the cache
    never holds more than two configurations. ``language`` is that of all expressions, whatever
    their objects ask for; "" leaves it to them (D12).
    """

    def __init__(
        self, types: Types, before: Mapping[_Key, _Known] | None = None, language: str = ""
    ) -> None:
        self.types = types
        self._language = language
        self._before = before or {}
        self._known: dict[_Key, _Known] = {}

    def over(self, types: Types) -> Expressions:
        """Expressions for the next configuration, over these attributes."""
        return Expressions(types, self._known if types == self.types else None, self._language)

    def dialect(self, entry: Entry) -> Dialect:
        """The language of an object's expressions."""
        return Dialect.of(self._language or entry.annotations.get(LANGUAGE_ANNOTATION, ""))

    def compile(
        self,
        text: str,
        dialect: Dialect = Dialect.CEXL,
        extra: Mapping[str, ValueType] | None = None,
    ) -> Expression:
        """A compiled expression; ``extra`` are names known besides (``$out`` fields, D4).

        Raises ExpressionError.
        """
        key = text, dialect, tuple(sorted(extra.items())) if extra else ()
        known = self._known.get(key) or self._before.get(key)
        if known is None:
            types = {**self.types, **extra} if extra else self.types
            try:
                known = dialect.compile(text, types, outputs=bool(extra))
            except ExpressionError as error:
                known = error
        self._known[key] = known
        if isinstance(known, ExpressionError):
            raise ExpressionError(str(known))
        return known
