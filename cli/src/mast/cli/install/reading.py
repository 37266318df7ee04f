"""Manifests in files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from mast.cli.errors import CommandError
from mast.cli.install.manifests import Object, parsed

_PIPE: Final = Path("-")
_ENDINGS: Final = frozenset({".yaml", ".yml", ".json"})


def manifest(path: Path) -> list[Object]:
    """The objects of a file, of all files of a directory, or of standard input; CommandError."""
    try:
        if path == _PIPE:
            return parsed(sys.stdin.read(), "standard input")
        if not path.is_dir():
            return parsed(path.read_text("utf-8"), str(path))
        files = sorted(each for each in path.rglob("*") if each.suffix in _ENDINGS)
        return [found for file in files for found in parsed(file.read_text("utf-8"), str(file))]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
