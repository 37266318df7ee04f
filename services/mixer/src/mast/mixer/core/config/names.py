"""Names of configuration objects and how they refer to each other (mixer.md D2)."""

from __future__ import annotations


def fqn(name: str, kind: str, namespace: str) -> str:
    """The fully qualified name ``name.kind.namespace``."""
    return f"{name}.{kind}.{namespace}"


def is_fqn(name: str) -> bool:
    """Whether a reference has exactly two dots and so is fully qualified."""
    return name.count(".") == 2


def canonical(name: str, kind: str, namespace: str) -> str:
    """A reference without dots as FQN of this kind and namespace; one with dots as it is."""
    return name if "." in name else fqn(name, kind, namespace)


def candidates(reference: str, kind: str, namespace: str) -> tuple[str, ...]:
    """The FQNs that a reference may mean, best first.

    ``a.b`` is first the object ``a`` of legacy kind ``b`` in the referring namespace, then the
    object ``a`` of the wanted kind in namespace ``b``.
    """
    name, dot, rest = reference.partition(".")
    if dot and "." not in rest:
        return fqn(name, rest, namespace), fqn(name, kind, rest)
    return (canonical(reference, kind, namespace),)


def short_name(name: str) -> str:
    """The first part of an FQN: how quotas are asked for (A32)."""
    return name.partition(".")[0]
