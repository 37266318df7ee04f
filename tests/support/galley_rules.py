"""What tables of validation rules share: an object from a kind and a YAML specification."""

from __future__ import annotations

from mast.common.kinds import named
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text


def found(kind: str, spec: str, *, name: str = "test", annotations: str = "{}") -> list[str]:
    """``severity path rule`` of everything found in an object, in the order of its lines.

    A name that several groups have means Istio's kind, unless it says ``group/kind``.
    """
    known = named(kind)[0]
    namespace = "" if known.cluster_scoped else "namespace: shop, "
    lines = [
        f"apiVersion: {known.api_version}",
        f"kind: {known.name}",
        f"metadata: {{{namespace}name: {name}, annotations: {annotations}}}",
        f"spec: {spec}",
    ]
    judged = judge(read_text("\n".join(lines), "test.yaml", Defaults()))
    return [f"{p.severity.value} {p.path} {p.rule}" for p in judged.problems]
