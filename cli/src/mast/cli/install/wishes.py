"""What a user wants of an installation: files, --set and --profile as one set of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mast.cli.errors import CommandError
from mast.cli.install import operator_file
from mast.cli.install.chart import Chart
from mast.cli.install.manifests import Object
from mast.cli.install.operator_file import NotMapped
from mast.cli.install.values import merged


@dataclass(frozen=True)
class Wishes:
    """``profile`` "" means the usual one; ``values`` lie over it."""

    profile: str = ""
    values: Object = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """The revision that they name, "default" if none."""
        return str(self.values.get("revision") or "") or "default"

    def over(self, before: Wishes) -> Wishes:
        """These over those of before."""
        return Wishes(self.profile or before.profile, merged(before.values, self.values))

    def with_values(self, values: Mapping[str, Any]) -> Wishes:
        """With values over them."""
        return replace(self, values=merged(self.values, values))


def wishes(
    files: Iterable[Path],
    settings: Iterable[str],
    *,
    profile: str = "",
    revision: str = "",
    chart: Chart,
) -> Wishes:
    """What files say, later ones over earlier ones, then ``--set``, then the flags.

    A file is one of values, or an IstioOperator. Expressions of ``--set`` are read as by Helm;
    paths may begin as in an IstioOperator, too (``values.``, ``components.``, ``profile``).
    CommandError for what does not map.
    """
    found = Wishes()
    for file in files:
        found = _of_file(file).over(found)
    for setting in settings:
        found = _of_setting(setting, chart).over(found)
    if revision:
        found = found.with_values({"revision": revision})
    return replace(found, profile=profile or found.profile)


def _of_file(path: Path) -> Wishes:
    try:
        document = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise CommandError(f"{path}: {error}") from error
    if document is None:
        return Wishes()
    if not isinstance(document, dict):
        raise CommandError(f"{path}: want values, or one IstioOperator")
    if not operator_file.is_one(document):
        return Wishes(values=document)
    return _mapped(document.get("spec"), f"{path}: spec")


def _of_setting(setting: str, chart: Chart) -> Wishes:
    found = chart.setting(setting)
    spec = {key: found.pop(key) for key in operator_file.ONLY_THERE if key in found}
    mapped = _mapped(spec, "--set ")
    return Wishes(mapped.profile, merged(found, mapped.values))


def _mapped(spec: Any, where: str) -> Wishes:
    try:
        return Wishes(*operator_file.mapped(spec))
    except NotMapped as error:
        separator = "" if where.endswith(" ") else "."
        raise CommandError(f"{where}{separator}{error}") from error
