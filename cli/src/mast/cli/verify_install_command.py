"""verify-install: whether a control plane is as it was installed, and at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.cobra import SwitchCommand
from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig

if TYPE_CHECKING:
    from mast.cli.install.verification import Checked
    from mast.common.kubernetes import Api

EXAMPLES = """\b
Examples:
  mastctl verify-install
  mastctl verify-install --revision canary
  mastctl manifest generate --profile demo > mesh.yaml && mastctl verify-install -f mesh.yaml
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(name="verify-install", cls=SwitchCommand, epilog=EXAMPLES)(verify_install)


def verify_install(
    files: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", help="A manifest to compare with instead, - is a pipe."),
    ] = None,
    revision: Annotated[
        str, typer.Option("-r", "--revision", help="Only this one; default: all of them.")
    ] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Compare what is in the cluster with what was installed.

    Objects that are missing, or have other fields, and what does not get ready, with what its pods
    say. Fields that nobody asked for may be anything. Exit status 1 if something is wrong.
    """
    choice = ClusterChoice(kubeconfig, context)

    async def of_files(api: Api) -> dict[str, list[Checked]]:
        from mast.cli.install.reading import manifest
        from mast.cli.install.verification import of_manifest

        objects = [one for file in files or () for one in manifest(file)]
        return {"the manifest": await of_manifest(api, objects)}

    async def of_releases(api: Api) -> dict[str, list[Checked]]:
        return await _releases(api, istio_namespace, revision)

    found = choice.ask(of_files if files else of_releases)
    wrong = sum(_tell(title, checked) for title, checked in found.items())
    if wrong:
        raise CommandError(f"{wrong} objects are not as they were installed")
    typer.echo("\u2714 Mast is installed and verified successfully")


async def _releases(api: Api, namespace: str, revision: str) -> dict[str, list[Checked]]:
    from mast.cli.install.cluster import releases
    from mast.cli.install.manifests import Identity
    from mast.cli.install.verification import Checked, verified

    there = await releases(api, namespace)
    chosen = [one for one in there if revision in ("", one.revision)]
    if not chosen:
        installed = ", ".join(one.revision for one in there) or "none"
        wanted = f"revision {revision!r}" if revision else "anything"
        raise CommandError(
            f"mastctl did not install {wanted} in {namespace}; installed are: {installed}",
            hint="compare with a manifest by -f",
        )
    found = {}
    for one in chosen:
        checked = await verified(api, one)
        if not one.complete:
            what = Identity("v1", "Secret", one.namespace, one.secret)
            checked.insert(0, Checked(what, ("the installation was not completed",)))
        found[f"revision {one.revision}"] = checked
    return found


def _tell(title: str, checked: list[Checked]) -> int:
    """Print a line for each object, and what was checked; how many are wrong."""
    for one in checked:
        if not one.problems:
            typer.echo(f"\u2714 {one.what} checked successfully")
        for problem in one.problems:
            typer.echo(f"\u2718 {one.what}: {problem}")
    definitions = sum(one.what.kind == "CustomResourceDefinition" for one in checked)
    typer.echo(f"Checked {definitions} definitions of kinds of {title}")
    typer.echo(f"Checked {len(checked) - definitions} objects of {title}")
    return sum(bool(one.problems) for one in checked)
