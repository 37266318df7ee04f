"""Types of expressions, and the errors for those that have none (mixer.md E6 to E10, E27)."""

from __future__ import annotations

from collections.abc import Mapping

from mast.common.expressions.tree import Attribute, Call, Constant, ExpressionError, Node
from mast.common.expressions.types import SIGNATURES, Signature, ValueType

_COMPARABLE = frozenset(ValueType) - {ValueType.DURATION, ValueType.STRING_MAP}
_ORDERED = frozenset(t for t in ValueType if t.textual) | {
    ValueType.INT64,
    ValueType.DOUBLE,
    ValueType.TIMESTAMP,
}
_ADDABLE = _ORDERED - {ValueType.TIMESTAMP}

# What an operator is called in the errors of E10, and the types it is implemented for.
_IMPLEMENTED: Mapping[str, tuple[str, frozenset[ValueType]]] = {
    "EQ": ("equality", _COMPARABLE),
    "NEQ": ("equality", _COMPARABLE),
    "LT": ("less than", _ORDERED),
    "LEQ": ("less or equal", _ORDERED),
    "GT": ("greater than", _ORDERED),
    "GEQ": ("greater or equal", _ORDERED),
    "ADD": ("Add", _ADDABLE),
}


class Checker:
    """Types of expressions over the attributes of a manifest; looks at each part once."""

    def __init__(self, attributes: Mapping[str, ValueType]) -> None:
        self._attributes = attributes
        # By identity: trees are equal by all that is in them. Nodes are kept so that theirs lasts.
        self._found: dict[int, tuple[Node, ValueType]] = {}

    def type(self, node: Node) -> ValueType:
        """The type of an expression.

        Raises ExpressionError with the text of E9, or of E10 if all types fit but an operator does
        not exist for them.
        """
        unimplemented: list[str] = []
        found = self._type(node, unimplemented)
        if unimplemented:
            raise ExpressionError(f"internal compiler error -- {unimplemented[0]}")
        return found

    def _type(self, node: Node, unimplemented: list[str]) -> ValueType:
        known = self._found.get(id(node))
        if known is not None:
            return known[1]
        found = self._infer(node, unimplemented)
        self._found[id(node)] = node, found
        return found

    def _infer(self, node: Node, unimplemented: list[str]) -> ValueType:
        if isinstance(node, Constant):
            return node.type
        if isinstance(node, Attribute):
            if node.name not in self._attributes:
                raise ExpressionError(f"unknown attribute {node.name}")
            return self._attributes[node.name]
        signature = _signature(node)
        if node.target is not None:
            receiver = self._type(node.target, unimplemented)
            if receiver is not signature.receiver:
                raise ExpressionError(
                    f"{node} target typeError got {receiver}, expected {signature.receiver}"
                )
        variable: ValueType | None = None
        for index, expected in enumerate(signature.parameters):
            argument = node.arguments[index]
            found = self._type(argument, unimplemented)
            wanted = expected or variable or found
            if found is not wanted:
                raise ExpressionError(
                    f"{node} arg {index + 1} ({argument}) typeError got {found}, expected {wanted}"
                )
            if expected is None:
                variable = found
        if node.name in _IMPLEMENTED and variable is not None:
            word, types = _IMPLEMENTED[node.name]
            if variable not in types:
                unimplemented.append(f"{word} for type not yet implemented: {variable.storage}")
        result = signature.result or variable
        assert result is not None  # noqa: S101  every signature has a result or a type variable
        return result


def _signature(call: Call) -> Signature:
    signature = SIGNATURES.get(call.name)
    if signature is None:
        raise ExpressionError(f"unknown function: {call.name}")
    if call.target is not None and signature.receiver is None:
        raise ExpressionError(f"invoking regular function on instance method: {call.name}")
    if call.target is None and signature.receiver is not None:
        raise ExpressionError(f"invoking instance method without an instance: {call.name}")
    expected, got = len(signature.parameters), len(call.arguments)
    if got < expected:
        raise ExpressionError(
            f"{call} arity mismatch. Got {got} arg(s), expected {expected} arg(s)"
        )
    return signature
