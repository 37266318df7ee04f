"""Label selectors as Kubernetes has them (LabelSelector)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mast.galley.core.injection.refusal import InjectionRefused

_OPERATORS: Final[Mapping[str, Callable[[str | None, list[str]], bool]]] = {
    "In": lambda value, allowed: value in allowed,
    "NotIn": lambda value, refused: value not in refused,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether every condition holds; a selector without any selects everything.

    Raises InjectionRefused for operators that Kubernetes does not have.
    """
    same = all(
        labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()
    )
    return same and all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator = str(expression.get("operator"))
    if operator not in _OPERATORS:
        known = ", ".join(_OPERATORS)
        raise InjectionRefused([f"label selector: operator {operator!r}; allowed: {known}"])
    return _OPERATORS[operator](
        labels.get(expression.get("key", "")), expression.get("values") or []
    )
