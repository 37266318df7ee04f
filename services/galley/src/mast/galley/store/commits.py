"""Which commit a directory is at, if it belongs to a Git work tree.

Read are the files that Git keeps of it; Git itself is not needed. Work trees of their own, as
git-sync makes them behind a symbolic link, are found by where the link leads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What git-sync calls the directory of a commit, in its versions.
_NAMED: Final = re.compile(rf"(?:rev-)?({_COMMIT.pattern})")
_DEEPEST: Final = 5


def commit_of(directory: Path) -> str:
    """The id of the commit; "" if there is none, or if it cannot be told."""
    try:
        found = directory.resolve(strict=True)
        return next(filter(None, (_checked_out(each) for each in (found, *found.parents))), "")
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""


def _checked_out(top: Path) -> str:
    named = _NAMED.fullmatch(top.name)
    git = top / ".git"
    if git.is_file():
        pointer = git.read_text().removeprefix("gitdir:").strip()
        linked = (top / pointer).resolve()
        # A link that leads nowhere: the work tree came without its repository.
        return _head(linked) if linked.is_dir() else (named[1] if named else "")
    if git.is_dir():
        return _head(git)
    return named[1] if named else ""


def _head(git: Path) -> str:
    """What HEAD comes to, of a repository or of one of its work trees."""
    shared = git / "commondir"
    common = (git / shared.read_text().strip()).resolve() if shared.is_file() else git
    value = (git / "HEAD").read_text().strip()
    for _ in range(_DEEPEST):
        if not value.startswith("ref:"):
            break
        name = value.removeprefix("ref:").strip()
        value = _loose(git, name) or _loose(common, name) or _packed(common, name)
    return value if _COMMIT.fullmatch(value) else ""


def _loose(git: Path, name: str) -> str:
    path = git / name
    return path.read_text().strip() if path.is_file() else ""


def _packed(git: Path, name: str) -> str:
    path = git / "packed-refs"
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
