"""Configuration of a source as desired state: its files, or what stands for them (A2, "Files")."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mast.common import kinds
from mast.galley.core.documents import utf8
from mast.galley.core.judge import judge
from mast.galley.core.objects import ConfigObject, Defaults, read_text
from mast.galley.core.problem import Problem, Severity, errors
from mast.galley.core.resources import Stored, reference
from mastapi.galley.v1 import config_pb2

# Which source wrote a stored object, and from which file of it.
SOURCE_ANNOTATION = kinds.SOURCE_ANNOTATION
PATH_ANNOTATION = "mast.io/source-path"


@dataclass(frozen=True, slots=True)
class File:
    """What one file holds; a broken one has errors, and only its valid objects here."""

    digest: bytes
    objects: tuple[ConfigObject, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether something in it could not be taken."""
        return bool(errors(self.problems))


@dataclass(frozen=True)
class Tree:
    """All files by path, at a commit if the source has such.

    ``untold`` are beginnings of paths, up to a colon, of which the source has not told anything
    yet.
    """

    files: Mapping[str, File] = field(default_factory=dict)
    commit: str = ""
    untold: frozenset[str] = frozenset()

    @cached_property
    def broken(self) -> frozenset[str]:
        """Paths of files with errors."""
        return frozenset(path for path, file in self.files.items() if file.broken)

    def stays(self, path: str) -> bool:
        """Whether what came from a path is to stay although it is not there now."""
        return path in self.broken or path.partition(":")[0] in self.untold

    def merged(self) -> tuple[dict[str, ConfigObject], tuple[Problem, ...]]:
        """Objects by key, and all problems: of objects in several files the first path wins."""
        objects: dict[str, ConfigObject] = {}
        problems: list[Problem] = []
        for path in sorted(self.files):
            problems += self.files[path].problems
            for obj in self.files[path].objects:
                first = objects.setdefault(obj.key, obj)
                if first is not obj:
                    problems.append(_duplicate(obj, first))
        return objects, tuple(problems)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What makes the store agree with a tree."""

    objects: tuple[ConfigObject, ...]
    deletions: Mapping[str, config_pb2.ObjectRef]
    problems: tuple[Problem, ...]


def read_tree(
    previous: Tree, contents: Mapping[str, bytes | str], defaults: Defaults, commit: str = ""
) -> Tree:
    """The tree of these files; files that did not change are not read again.

    A content is bytes, or text that says why the file could not be read.
    """
    lenient = replace(defaults, skip_unknown=True, skip_foreign=True)
    files: dict[str, File] = {}
    for path, content in contents.items():
        if isinstance(content, str):
            files[path] = _unreadable(path, content)
            continue
        digest = hashlib.blake2b(content, digest_size=16).digest()
        known = previous.files.get(path)
        same = known is not None and known.digest == digest
        files[path] = known if same and known else _read(path, content, digest, lenient)
    return Tree(files, commit)


def _read(path: str, content: bytes, digest: bytes, defaults: Defaults) -> File:
    judged = judge(read_text(utf8(content), path, defaults), defaults.compat)
    wrong = {problem.about for problem in errors(judged.problems)}
    good: dict[str, ConfigObject] = {}
    for obj in judged.objects:
        if obj.about not in wrong:
            good[obj.key] = obj
    return File(digest, tuple(good.values()), judged.problems)


def _unreadable(path: str, reason: str) -> File:
    return File(b"", (), (Problem("unreadable", reason, source=path),))


def _duplicate(obj: ConfigObject, first: ConfigObject) -> Problem:
    return Problem(
        "duplicate-object",
        f"ignored: already in {first.source}:{first.position.line}",
        source=obj.source,
        severity=Severity.WARNING,
        position=obj.position,
        kind=obj.kind.name,
        namespace=obj.meta.namespace,
        name=obj.meta.name,
        document=obj.position,
    )


def reconcile(
    tree: Tree, source: str, stored: Iterable[Stored], later: Container[str] = ()
) -> Reconciliation:
    """Objects to write and to delete so that the store holds what the tree says.

    Only what this source owns is deleted, and nothing that came from a file which is broken now:
    its last good objects stay. An object of another source is left alone and reported, unless it
    is one of those that come ``later``; one that no source owns is taken over.
    """
    desired, problems = tree.merged()
    found = list(problems)
    owned: dict[str, Stored] = {}
    for item in stored:
        key = str(item.key)
        owner = item.annotations.get(SOURCE_ANNOTATION, "")
        if owner == source:
            owned[key] = item
        elif owner and key in desired and owner not in later:
            found.append(_foreign(desired.pop(key), owner))
    for key, item in owned.items():
        path = item.annotations.get(PATH_ANNOTATION, "")
        if key in desired and tree.stays(path) and path != desired[key].source:
            del desired[key]
    deletions = {
        key: reference(item.kind, item.key.namespace, item.key.name)
        for key, item in owned.items()
        if key not in desired and not tree.stays(item.annotations.get(PATH_ANNOTATION, ""))
    }
    objects = tuple(_owned(obj, source) for obj in desired.values())
    return Reconciliation(objects, deletions, tuple(found))


def _foreign(obj: ConfigObject, owner: str) -> Problem:
    return Problem(
        "owned",
        f"ignored: the object belongs to the source {owner!r}",
        source=obj.source,
        severity=Severity.WARNING,
        position=obj.position,
        kind=obj.kind.name,
        namespace=obj.meta.namespace,
        name=obj.meta.name,
        document=obj.position,
    )


def _owned(obj: ConfigObject, source: str) -> ConfigObject:
    """The object marked as this source's; it insists on no stored version."""
    marks = {SOURCE_ANNOTATION: source, PATH_ANNOTATION: obj.source}
    annotations = {**obj.meta.annotations, **marks}
    meta = replace(obj.meta, annotations=annotations, resource_version="")
    return replace(obj, meta=meta)
