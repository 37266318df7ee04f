"""A directory as desired state, and what makes the store agree with it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mast.galley.core.objects import ConfigObject, Defaults
from mast.galley.core.resources import Stored, resource, stored
from mast.galley.core.tree import (
    PATH_ANNOTATION,
    SOURCE_ANNOTATION,
    Reconciliation,
    Tree,
    read_tree,
    reconcile,
)


def rule(name: str, host: str = "a.com") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}}}\nspec: {{host: '{host}'}}\n"
    )


BROKEN = rule("x", "a b")


def tree(before: Tree | None = None, /, **files: str | bytes) -> Tree:
    contents = {
        f"{name}.yaml": text.encode() if isinstance(text, str) else text
        for name, text in files.items()
    }
    return read_tree(before or Tree(), contents, Defaults())


def names(objects: Mapping[str, ConfigObject]) -> list[str]:
    return sorted(obj.meta.name for obj in objects.values())


def told(found: Tree) -> list[str]:
    return [f"{p.source}:{p.position.line} {p.rule}" for p in found.merged()[1]]


def store_of(*todo: Reconciliation) -> list[Stored]:
    """What the store holds after reconciliations of different sources."""
    objects = [obj for item in todo for obj in item.objects]
    return [stored(o.key, resource(o, 1, None).SerializeToString(), 1) for o in objects]


def test_all_files_together() -> None:
    found = tree(a=rule("x") + "---\n" + rule("y"), b=rule("z"))
    assert names(found.merged()[0]) == ["x", "y", "z"]
    assert told(found) == []


def test_the_first_path_wins() -> None:
    found = tree(b=rule("x", "b.com"), a=rule("x", "a.com"))
    objects, problems = found.merged()
    assert [obj.spec.host for obj in objects.values()] == ["a.com"]
    assert [str(p) for p in problems] == [
        "b.yaml:1:1: warning: DestinationRule default/x: ignored: already in a.yaml:1 "
        "[duplicate-object]"
    ]


def test_valid_documents_of_a_broken_file_are_taken() -> None:
    found = tree(a=BROKEN + "---\n" + rule("y"))
    assert names(found.merged()[0]) == ["y"]
    assert found.broken == {"a.yaml"}
    assert told(found) == ["a.yaml:4 host"]


def test_an_object_with_an_endless_name_is_not_taken() -> None:
    assert tree(a=rule("x" * 1000)).merged()[0] == {}


def test_unknown_kinds_are_noted_and_break_nothing() -> None:
    foreign = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {settings: x}\n---\n"
    )
    found = tree(a=foreign + rule("x"))
    assert names(found.merged()[0]) == ["x"]
    assert told(found) == ["a.yaml:2 unknown-kind", "a.yaml:6 unknown-kind"]
    assert found.broken == frozenset()


@pytest.mark.parametrize(
    ("content", "rule_broken"),
    [
        pytest.param(b"\xff\xfe", "not-utf-8", id="not-utf-8"),
        pytest.param(b"a: [", "malformed-yaml", id="not-yaml"),
        pytest.param(b"5", "not-an-object", id="not-an-object"),
    ],
)
def test_broken(content: bytes, rule_broken: str) -> None:
    found = tree(a=content)
    assert [p.rule for p in found.merged()[1]] == [rule_broken]
    assert found.broken == {"a.yaml"}


def test_a_file_that_cannot_be_read_is_broken() -> None:
    found = read_tree(Tree(), {"a.yaml": "cannot be read: Permission denied"}, Defaults())
    assert [p.message for p in found.merged()[1]] == ["cannot be read: Permission denied"]
    assert found.broken == {"a.yaml"}


def test_unchanged_files_are_not_read_again() -> None:
    before = tree(a=rule("x"), b=rule("y"))
    after = tree(before, a=rule("x"), b=rule("y", "b.com"))
    assert after.files["a.yaml"] is before.files["a.yaml"]
    assert after.files["b.yaml"] is not before.files["b.yaml"]


def test_objects_are_marked_as_the_sources_own() -> None:
    (obj,) = reconcile(tree(a=rule("x")), "files", []).objects
    assert obj.meta.annotations == {SOURCE_ANNOTATION: "files", PATH_ANNOTATION: "a.yaml"}


def test_a_version_in_a_file_is_not_insisted_on() -> None:
    text = rule("x").replace("{name: x}", "{name: x, resourceVersion: '5'}")
    (obj,) = reconcile(tree(a=text), "files", []).objects
    assert obj.meta.resource_version == ""


def test_what_is_gone_from_the_files_is_deleted() -> None:
    before = reconcile(tree(a=rule("x") + "---\n" + rule("y"), b=rule("z")), "files", [])
    todo = reconcile(tree(a=rule("x")), "files", store_of(before))
    assert sorted(ref.name for ref in todo.deletions.values()) == ["y", "z"]
    assert [obj.meta.name for obj in todo.objects] == ["x"]


def test_what_came_from_a_broken_file_stays() -> None:
    before = reconcile(tree(a=rule("x") + "---\n" + rule("y"), b=rule("z")), "files", [])
    todo = reconcile(tree(a=BROKEN), "files", store_of(before))
    assert [ref.name for ref in todo.deletions.values()] == ["z"]
    assert todo.objects == ()


def test_another_file_does_not_take_over_from_a_broken_one() -> None:
    before = reconcile(tree(a=rule("x", "good.com")), "files", [])
    todo = reconcile(tree(a=BROKEN, b=rule("x", "other.com")), "files", store_of(before))
    assert todo.objects == ()
    assert todo.deletions == {}


def test_a_renamed_file_keeps_its_objects() -> None:
    before = reconcile(tree(a=rule("x")), "files", [])
    todo = reconcile(tree(b=rule("x")), "files", store_of(before))
    assert [obj.meta.annotations[PATH_ANNOTATION] for obj in todo.objects] == ["b.yaml"]
    assert todo.deletions == {}


def test_what_others_own_is_left_alone() -> None:
    theirs = reconcile(tree(a=rule("x") + "---\n" + rule("y")), "git", [])
    todo = reconcile(tree(a=rule("x", "b.com")), "files", store_of(theirs))
    assert todo.objects == ()
    assert todo.deletions == {}
    assert [p.message for p in todo.problems] == ["ignored: the object belongs to the source 'git'"]


def test_what_nobody_owns_is_taken_over() -> None:
    (mine,) = reconcile(tree(a=rule("x")), "files", []).objects
    (free,) = tree(a=rule("x")).merged()[0].values()
    unowned = [stored(free.key, resource(free, 1, None).SerializeToString(), 1)]
    assert reconcile(tree(a=rule("x")), "files", unowned).objects == (mine,)
    assert reconcile(tree(), "files", unowned).deletions == {}


def test_an_earlier_source_takes_over_what_a_later_one_has() -> None:
    theirs = reconcile(tree(a=rule("x") + "---\n" + rule("y")), "git", [])
    todo = reconcile(tree(a=rule("x", "b.com")), "files", store_of(theirs), later=["git"])
    assert [obj.meta.name for obj in todo.objects] == ["x"]
    assert (todo.deletions, todo.problems) == ({}, ())


def test_what_was_not_told_yet_stays() -> None:
    told = read_tree(Tree(), {"v1/A:n/x": rule("x").encode()}, Defaults())
    stored = list(store_of(reconcile(told, "xds", [])))
    assert reconcile(Tree(untold=frozenset({"v1/A"})), "xds", stored).deletions == {}
    assert len(reconcile(Tree(untold=frozenset({"v1/B"})), "xds", stored).deletions) == 1
