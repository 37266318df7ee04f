"""kube-inject: manifests with their proxies, without a webhook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.config_commands import Files, sources
from mast.cli.errors import CommandError
from mast.cli.output import note

if TYPE_CHECKING:
    from mast.cli.offline.manifests import Manifests
    from mast.galley.core.injection.settings import Settings

EXAMPLES = """\b
Examples:
  mastctl kube-inject -f deployment.yaml | kubectl apply -f -
  kustomize build . | mastctl kube-inject -f - --valuesFile values.yaml -o injected.yaml
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(name="kube-inject", epilog=EXAMPLES)(kube_inject)


def kube_inject(
    filename: Files,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: standard output.")
    ] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Namespace of objects that name none.")
    ] = "default",
    mesh_config_file: Annotated[
        Path | None, typer.Option("--meshConfigFile", help="MeshConfig, as Istio has it.")
    ] = None,
    values_file: Annotated[
        Path | None, typer.Option("--valuesFile", help="Helm's values, as YAML or JSON.")
    ] = None,
    inject_config_file: Annotated[
        Path | None,
        typer.Option(
            "--injectConfigFile",
            help="The injector's configuration: policy, templates, selectors.",
        ),
    ] = None,
    revision: Annotated[
        str, typer.Option("-r", "--revision", help="Revision of the control plane.")
    ] = "",
) -> None:
    """Give the pods of manifests their proxies, as the webhook would.

    Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Lists of them;
    every other document stays as it is. Nothing is written if anything is wrong.
    """
    from mast.cli.offline.manifests import with_sidecars

    settings = _settings(mesh_config_file, values_file, inject_config_file, revision)
    problems: list[str] = []
    texts: list[str] = []
    for source in sources(filename):
        made = with_sidecars(source.text, settings, namespace)
        problems += _problems(source.name, made)
        texts.append(made.text)
        for each in made.found:
            if not each.outcome.problems and not each.outcome.decision.inject:
                reason = each.outcome.decision.reason
                note(f"{source.name}:{each.line}: {each.outcome.about} stays as it is: {reason}")
    if problems:
        raise CommandError("nothing was injected\n" + "\n".join(problems))
    _write(output, _joined(texts))


def _problems(name: str, made: Manifests) -> list[str]:
    """``file:line: Kind ns/name: what``; all of them."""
    unread = [f"{name}:{e.position.line or 1}: {e.message}" for e in made.problems]
    refused = [
        f"{name}:{each.line}: {each.outcome.about}: {problem}"
        for each in made.found
        for problem in each.outcome.problems
    ]
    return unread + refused


def _settings(
    mesh: Path | None, values: Path | None, injector: Path | None, revision: str
) -> Settings:
    from mast.galley.core.injection.refusal import InjectionRefused
    from mast.galley.core.injection.settings import settings

    try:
        return settings(_mesh(mesh), _tree(values), _tree(injector), revision=revision)
    except InjectionRefused as error:
        raise CommandError("bad settings\n" + "\n".join(error.problems)) from error


def _mesh(file: Path | None) -> dict[str, Any]:
    """MeshConfig: plain, or as a ConfigMap, values, an IstioOperator or an object have it."""
    from mast.galley.core.injection.trees import parsed
    from mast.galley.core.injection.values import value_at

    tree = _tree(file)
    if isinstance(text := value_at(tree, "data.mesh"), str):
        try:
            found = parsed(text)
        except ValueError as error:
            raise CommandError(f"{file}: data.mesh: {error}") from error
    else:
        places = ("meshConfig", "spec.meshConfig", *(["spec"] if "apiVersion" in tree else []))
        within = (value_at(tree, each) for each in places)
        found = next((each for each in within if each is not None), tree)
    if not isinstance(found, dict):
        raise CommandError(f"{file}: want mesh settings, an object")
    return found


def _tree(file: Path | None) -> dict[str, Any]:
    """The object in a file of settings; an empty one without a file."""
    from mast.galley.core.injection.trees import parsed

    if file is None:
        return {}
    (source,) = sources([file])
    try:
        found = parsed(source.text)
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from error
    if not isinstance(found, dict | None):
        raise CommandError(f"{file}: want an object")
    return found or {}


def _joined(texts: list[str]) -> str:
    """One text of documents, a mark between those of two files."""
    result = ""
    for text in texts:
        if result and not text.startswith("---"):
            result += "---\n"
        result += text if not text or text.endswith("\n") else f"{text}\n"
    return result


def _write(output: Path | None, text: str) -> None:
    if output is None or str(output) == "-":
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {output}: {error}") from error
