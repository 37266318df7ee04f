"""check-inject: which webhook gives a pod its proxy, and why none does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig
from mast.cli.output import Format, dump, note, plain

if TYPE_CHECKING:
    from mast.common.kubernetes import Api, Object, Resource
    from mast.galley.core.injection.inspection import Inspected
    from mast.galley.core.injection.settings import Settings

COLUMNS = ("WEBHOOK", "REVISION", "INJECTED", "REASON")
_YES, _NO = "\u2714", "\u2718"

EXAMPLES = """\b
Examples:
  mastctl check-inject web-5d9f7c -n shop
  mastctl check-inject deployment/web.shop
  mastctl check-inject -n shop --labels app=web,version=v1
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(name="check-inject", epilog=EXAMPLES)(check_inject)


def check_inject(
    name: Annotated[
        str, typer.Argument(metavar="[KIND/]NAME[.NAMESPACE]", help="A pod, or what makes pods.")
    ] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "",
    labels: Annotated[
        str, typer.Option("-l", "--labels", help="NAME=VALUE,... of a pod that is not there yet.")
    ] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Format of the result.")
    ] = Format.TABLE,
) -> None:
    """Tell for each webhook that injects whether it takes a pod, and by which labels.

    Exit status 1 if several would inject: the pod would be injected by each of them.
    """
    if bool(name) == bool(labels):
        raise CommandError("name a pod or what makes pods, or give --labels", status=2)
    choice = ClusterChoice(kubeconfig, context)
    kind, named, place = _target(name)
    where = place or namespace or choice.access().namespace

    async def work(api: Api) -> list[Inspected]:
        pod = await _pod(api, kind, named, where) if named else {"metadata": _labelled(labels)}
        return await _inspected(api, pod, where, istio_namespace)

    found = choice.ask(work)
    if not found:
        raise CommandError("no webhook that injects is installed")
    if output is Format.TABLE:
        rows = [
            [each.configuration, each.revision, _YES if each.injects else _NO, each.reason]
            for each in found
        ]
        plain(COLUMNS, rows)
    else:
        sys.stdout.write(dump([_data(each) for each in found], output))
    injecting = [each.configuration for each in found if each.injects]
    if len(injecting) > 1:
        note(f"Several would inject: {', '.join(injecting)} (IST0139)")
        raise typer.Exit(1)


def _data(found: Inspected) -> dict[str, Any]:
    return {
        "webhook": found.configuration,
        "revision": found.revision,
        "injected": found.injects,
        "reason": found.reason,
    }


def _target(text: str) -> tuple[str, str, str]:
    """Kind, name and namespace of ``[KIND/]NAME[.NAMESPACE]``."""
    kind, slash, rest = text.partition("/")
    kind, rest = (kind, rest) if slash else ("pod", text)
    name, _, namespace = rest.partition(".")
    return kind.lower(), name, namespace


def _labelled(text: str) -> dict[str, Any]:
    pairs = [each.partition("=") for each in text.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise CommandError(f"--labels {text!r}: want NAME=VALUE,...", status=2)
    return {"labels": {name: value for name, _, value in pairs}}


def _makers() -> Mapping[str, Resource]:
    """What has pods, by the names that kubectl knows."""
    from mast.common.kubernetes import Resource
    from mast.common.kubernetes.objects import PODS

    found: dict[str, Resource] = dict.fromkeys(("pod", "pods", "po"), PODS)
    for group, plural, kind, short in (
        ("apps", "deployments", "Deployment", "deploy"),
        ("apps", "statefulsets", "StatefulSet", "sts"),
        ("apps", "daemonsets", "DaemonSet", "ds"),
        ("apps", "replicasets", "ReplicaSet", "rs"),
        ("batch", "jobs", "Job", "job"),
        ("batch", "cronjobs", "CronJob", "cj"),
    ):
        resource = Resource(group, "v1", plural, kind)
        found |= dict.fromkeys((plural, kind.lower(), short), resource)
    return found


async def _pod(api: Api, kind: str, name: str, namespace: str) -> Object:
    """A pod, or the template of the pods that something makes."""
    from mast.galley.core.injection.workloads import pod_of

    makers = _makers()
    if kind not in makers:
        known = ", ".join(sorted({each.kind.lower() for each in makers.values()}))
        raise CommandError(f"{kind!r} has no pods; want one of {known}", status=2)
    found = await api.get(makers[kind], name, namespace)
    return (
        pod_of({**found, "kind": makers[kind].kind, "apiVersion": makers[kind].api_version}) or {}
    )


async def _inspected(
    api: Api, pod: Object, namespace: str, istio_namespace: str
) -> list[Inspected]:
    from mast.common.kubernetes import labels_of
    from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES
    from mast.galley.core.injection.inspection import inspected, revision_of

    home = await api.get(NAMESPACES, namespace)
    installed = (await api.list(MUTATING_WEBHOOK_CONFIGURATIONS)).objects
    revisions = {revision_of(each) for each in installed}
    settings = {each: await _settings(api, each, istio_namespace) for each in revisions}
    return inspected(installed, namespace, labels_of(home), pod, settings)


async def _settings(api: Api, revision: str, istio_namespace: str) -> Settings:
    """What the injector goes by, of Istio's ConfigMap; the usual if there is none to be read."""
    import yaml

    from mast.common.kubernetes import Forbidden, NotFound
    from mast.common.kubernetes.objects import CONFIG_MAPS
    from mast.galley.core.injection.refusal import InjectionRefused
    from mast.galley.core.injection.settings import Settings, settings
    from mast.galley.core.injection.webhooks import DEFAULT_REVISION

    name = "istio-sidecar-injector"
    if revision != DEFAULT_REVISION:
        name += f"-{revision}"
    try:
        data = (await api.get(CONFIG_MAPS, name, istio_namespace))["data"]
        read = [yaml.safe_load(data.get(key) or "{}") for key in ("values", "config")]
        return settings({}, *read)
    except (NotFound, Forbidden):
        return Settings()
    except (InjectionRefused, yaml.YAMLError, KeyError) as error:
        note(f"ConfigMap {istio_namespace}/{name} is not understood: {error}")
        return Settings()
