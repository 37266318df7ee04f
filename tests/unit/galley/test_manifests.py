"""Kubernetes' own documents are judged with file and line, and not skipped."""

from __future__ import annotations

from mast.galley.core.documents import parsed
from mast.galley.core.judge import judge
from mast.galley.core.manifests import Manifests
from mast.galley.core.objects import Defaults, read_documents
from mast.galley.core.verdicts import Verdict, verdicts

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: 80}]\n"
LIST = (
    "apiVersion: v1\nkind: List\nitems:\n"
    "- {apiVersion: v1, kind: Service, metadata: {name: s, namespace: b}}\n"
    "- {apiVersion: v1, kind: Node, metadata: {name: n, labels: {a: 5}}}\n"
    "- {apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: d}}\n"
    "- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n"
    "- {apiVersion: v1, kind: ServiceAccount, metadata: {name: s}}\n"
)


def found(*texts: str, warnings: bool = True) -> list[Verdict]:
    judges = Manifests("shop", warnings=warnings)
    documents = [list(parsed(text)) for text in texts]
    manifests = [m for i, each in enumerate(documents) for m in judges.judged(each, f"{i}.yaml")]
    defaults = Defaults("shop", skip_foreign=True)
    (reading,) = [read_documents(each, "0.yaml", defaults) for each in documents[:1]]
    return verdicts(judge(reading), manifests)


def told(*texts: str, warnings: bool = True) -> list[str]:
    return [
        f"{p.source}:{p.position.line} {each.kind} {each.namespace}/{each.name} {p.path} {p.rule}"
        for each in found(*texts, warnings=warnings)
        for p in (*each.errors, *each.warnings, *each.notes)
    ]


def test_findings_have_lines() -> None:
    assert told(SERVICE) == ["0.yaml:5 Service shop/s spec.ports[0].name port-name"]
    assert told(SERVICE, warnings=False) == []
    assert [(each.position.line, each.valid) for each in found(SERVICE)] == [(1, True)]


def test_many_findings_hide_no_error() -> None:
    ports = "".join(f"  - {{name: p{number}, port: 80}}\n" for number in range(1, 1200))
    text = SERVICE.replace(
        "  ports: [{port: 80}]\n", f"  ports:\n{ports}  - {{name: x, port: y}}\n"
    )
    (verdict,) = found(text)
    assert [each.rule for each in verdict.errors] == ["wrong-type"]
    assert len(verdict.warnings) == 0  # what is broken is not looked at any further
    (verdict,) = found(text.replace("port: y", "port: 80, a: b"))
    assert (verdict.valid, len(verdict.warnings)) == (True, 1000)


def test_lists_are_opened() -> None:
    assert told(LIST) == [
        "0.yaml:5 Node /n metadata.labels.a wrong-type",
        "0.yaml:6 Deployment shop/d spec required",
        "0.yaml:8 ServiceAccount /s kind unknown-kind",
    ]
    assert [each.kind for each in found(LIST) if each.valid and not each.notes] == [
        "Service",
        "Namespace",
    ]


def test_an_object_is_given_once() -> None:
    assert told(SERVICE, SERVICE, SERVICE.replace("{name: s}", "{name: t}"), warnings=False) == [
        "1.yaml:3 Service shop/s metadata.name duplicate-object"
    ]
    nameless = SERVICE.replace("{name: s}", "{}")
    rules = [each.rpartition(" ")[2] for each in told(nameless, nameless, warnings=False)]
    assert rules == ["required", "required"]


def test_what_is_no_manifest_is_left_out() -> None:
    texts = ("5", "[]", "a: [", "{apiVersion: [], kind: Service}", "{apiVersion: v1, kind: {}}")
    assert [list(Manifests("a").judged(parsed(text), "f")) for text in texts] == [[]] * 5
