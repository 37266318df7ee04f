"""The languages that expressions may be written in (mixer.md D12)."""

from __future__ import annotations

from enum import StrEnum

from mast.mixer.core.lang.cel.compat import as_cel
from mast.mixer.core.lang.cel.expression import compile_cel
from mast.mixer.core.lang.expression import Expression, Types, compile_expression


class Dialect(StrEnum):
    """COMPAT has the syntax of CEXL and the semantics of CEL."""

    CEXL = "CEXL"
    CEL = "CEL"
    COMPAT = "COMPAT"

    @classmethod
    def of(cls, word: str) -> Dialect:
        """The language of that name; CEXL for any other word (D12)."""
        return cls(word) if word in cls.__members__ else cls.CEXL

    def compile(self, text: str, types: Types, *, outputs: bool = False) -> Expression:
        """Check and compile an expression, as `compile_expression`; raises ExpressionError."""
        if self is Dialect.CEXL:
            return compile_expression(text, types, outputs=outputs)
        return compile_cel(as_cel(text, outputs=outputs) if self is Dialect.COMPAT else text, types)
