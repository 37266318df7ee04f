"""The chart: where it is, its profiles, and what Helm's engine makes of it and some values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml

from mast.cli.errors import CommandError
from mast.cli.install.manifests import Object, ordered, parsed

HOOK: Final = "helm.sh/hook"
TEST_HOOKS: Final = frozenset({"test", "test-success", "test-failure"})
DEFAULT_PROFILE: Final = "default"

_PACKAGED: Final = Path(__file__).parents[1] / "charts" / "mast"
_WORKSPACE: Final = Path(__file__).parents[5] / "charts" / "mast"
# Where a chart may be below the directory that --manifests names.
_PLACES: Final = (".", "mast", "charts/mast", "manifests/charts/mast")
_PROFILE: Final = re.compile(r"profiles/([\w.-]+)\.yaml")
_DOCUMENTS: Final = re.compile(r"(?m)^---\s*$")


@dataclass(frozen=True)
class Rendered:
    """What an installation makes, in its order.

    ``definitions`` are CustomResourceDefinitions, which come first and are never removed;
    ``left_out`` names the hooks of ``helm test``; ``notes`` is what Helm would tell.
    """

    definitions: list[Object]
    objects: list[Object]
    left_out: tuple[str, ...]
    notes: str


@dataclass(frozen=True)
class Chart:
    """A chart that is loaded; ``path`` is where it is."""

    path: Path
    engine: ModuleType
    _loaded: Any

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._loaded.name)

    @property
    def version(self) -> str:
        """Its version, which is what an upgrade goes by."""
        return str(self._loaded.version)

    @property
    def kubernetes(self) -> str:
        """Which versions of Kubernetes it is for, such as ``>=1.27.0-0``; "" for any."""
        return str(self._loaded.metadata.get("kubeVersion", ""))

    @property
    def defaults(self) -> Object:
        """The values of values.yaml."""
        return dict(self._loaded.values)

    def profiles(self) -> dict[str, Object]:
        """The values of each profile by its name."""
        found = {}
        for file in self._loaded.files:
            if match := _PROFILE.fullmatch(file["name"]):
                found[match[1]] = yaml.load(file["data"], yaml.CSafeLoader) or {}
        return dict(sorted(found.items()))

    def profile(self, name: str) -> Object:
        """The values of a profile; CommandError if there is none of the name."""
        there = self.profiles()
        if name not in there:
            raise CommandError(
                f"profile {name!r}: there is none; want one of {', '.join(there)}",
                hint="see them with: mastctl profile list",
            )
        return there[name]

    def setting(self, expression: str) -> Object:
        """The values of an expression of ``--set``; CommandError if Helm reads none in it."""
        try:
            found = self.engine.parse_set_string(expression)
        except self.engine.HelmError as error:
            raise CommandError(f"--set {expression}: {error}", status=2) from error
        if not found:
            raise CommandError(f"--set {expression}: want PATH=VALUE", status=2)
        return dict(found)

    def rendered(
        self, values: Mapping[str, Any], *, release: str, namespace: str, upgrade: bool = False
    ) -> Rendered:
        """What values come to; CommandError for values that the schema refuses."""
        try:
            texts: Mapping[str, str] = self._loaded.render(
                dict(values), name=release, namespace=namespace, is_upgrade=upgrade,
                is_install=not upgrade,
            )  # fmt: skip
        except self.engine.HelmError as error:
            raise CommandError(_refusal(str(error))) from error
        notes = ""
        objects: list[Object] = []
        for name in sorted(texts):
            if name.endswith("NOTES.txt"):
                notes = texts[name].strip()
            else:
                objects += _objects(texts[name], name)
        wanted, left_out = _without_hooks(objects)
        return Rendered(list(self._definitions()), ordered(wanted), left_out, notes)

    def _definitions(self) -> Iterator[Object]:
        for each in sorted(self._loaded.crds, key=lambda each: str(each["filename"])):
            yield from _objects(each["data"], each["filename"])


def loaded(manifests: Path | None) -> Chart:
    """The chart below a directory (or in an archive), by default the one mastctl brings.

    CommandError if there is none, or Helm's engine is not installed.
    """
    engine = helm()
    path = _found(manifests)
    try:
        return Chart(path, engine, engine.Chart.load(path))
    except engine.HelmError as error:
        raise CommandError(f"{path}: no chart: {error}") from error


def helm() -> ModuleType:
    """Helm's own engine as a module; CommandError if it is not installed."""
    try:
        import helm_python
    except ImportError as error:
        raise CommandError(
            "Helm's engine is not installed: the chart cannot be rendered",
            hint="install it with: pip install 'mast-cli[install]'",
        ) from error
    return helm_python


def _found(manifests: Path | None) -> Path:
    if manifests is None:
        for path in (_PACKAGED, _WORKSPACE):
            if (path / "Chart.yaml").is_file():
                return path
        raise CommandError("mastctl brings no chart here", hint="name one with --manifests")
    if manifests.is_file():
        return manifests
    for place in _PLACES:
        if (manifests / place / "Chart.yaml").is_file():
            return manifests / place
    raise CommandError(
        f"--manifests {manifests}: there is no Chart.yaml",
        hint=f"want a chart, its archive, or a directory with one of {', '.join(_PLACES[1:])}",
    )


def _objects(text: str, name: str) -> list[Object]:
    try:
        return parsed(text, name)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _without_hooks(objects: list[Object]) -> tuple[list[Object], tuple[str, ...]]:
    """What is installed, and the names of tests; CommandError for hooks of another kind."""
    wanted, left_out = [], []
    for each in objects:
        annotations = each["metadata"].get("annotations") or {}
        hooks = {name.strip() for name in str(annotations.get(HOOK, "")).split(",")} - {""}
        what = f"{each['kind']} {each['metadata']['name']!r}"
        if hooks - TEST_HOOKS:
            raise CommandError(
                f"{what}: {HOOK}: {annotations[HOOK]}; want {', '.join(sorted(TEST_HOOKS))}",
                hint="a chart with hooks has to be installed by helm",
            )
        if hooks:
            left_out.append(what)
        else:
            wanted.append(each)
    return wanted, tuple(left_out)


def _refusal(message: str) -> str:
    """What Helm says of values in one line."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    if len(lines) > 1 and "schema" in lines[0]:
        return f"values: {'; '.join(line for line in lines[1:] if not line.endswith(':'))}"
    return f"the chart: {' '.join(lines)}"
