"""Charts to install, and a cluster to install them into by mastctl."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from typer.testing import CliRunner, Result

from mast.cli.install.release import Release, read
from mast.cli.main import app
from mast.common.kubernetes.objects import SECRETS, Object, Resource
from tests.fakes.kubernetes.kinds import CRDS
from tests.fakes.kubernetes.objects import Objects
from tests.support.chart import CHART, NAMESPACE
from tests.support.live_cluster import LiveCluster, live_cluster

# Definitions of a chart that is installed quickly; its own objects are of these kinds.
DEFINED = ("destinationrules", "peerauthentications")


def chart_copy(directory: Path, version: str = "") -> Path:
    """The chart with two definitions only, and of another version if one is given."""
    made = directory / f"mast-{version or 'as-it-is'}"
    shutil.copytree(CHART, made, ignore=shutil.ignore_patterns("dashboards", "README.md"))
    for file in (made / "crds").iterdir():
        if not file.stem.endswith(DEFINED):
            file.unlink()
    if version:
        described = made / "Chart.yaml"
        data = yaml.safe_load(described.read_text())
        described.write_text(yaml.safe_dump({**data, "version": version, "appVersion": version}))
    return made


@dataclass
class Site:
    """A cluster, and the chart that is installed into it; ``stuck`` workloads do not get ready."""

    live: LiveCluster
    chart: Path
    stuck: set[str] = field(default_factory=set)

    @property
    def objects(self) -> Objects:
        """What the cluster stores."""
        return self.live.cluster.objects

    def run(self, *arguments: str, chart: Path | None = None, answer: str = "") -> Result:
        """A command of mastctl with the cluster, and the chart if it takes one."""
        where = ["--kubeconfig", str(self.live.kubeconfig)]
        if arguments[0] in {"install", "upgrade", "uninstall"}:
            where += ["--manifests", str(chart or self.chart)]
        return CliRunner().invoke(app, [*arguments, *where], input=answer)

    def done(self, *arguments: str, chart: Path | None = None) -> Result:
        """The same, of which nothing is asked and nothing goes wrong."""
        result = self.run(*arguments, chart=chart)
        if result.exception is not None:
            raise AssertionError(result.output) from result.exception
        return result

    def names(self, resource: Resource) -> list[str]:
        """Names of the objects of a kind in the control plane's namespace, or without any."""
        namespace = NAMESPACE if resource.namespaced else ""
        found = self.objects.list(resource, namespace, lambda _: True)
        return [each["metadata"]["name"] for each in found]

    def get(self, resource: Resource, name: str) -> Object:
        """An object of the control plane."""
        return self.objects.get(resource, NAMESPACE if resource.namespaced else "", name)

    def change(self, resource: Resource, name: str, change: Object) -> None:
        """Somebody changes fields of an object."""
        namespace = NAMESPACE if resource.namespaced else ""
        kind = "application/strategic-merge-patch+json"
        if resource == CRDS:
            kind = "application/merge-patch+json"
        self.objects.patch(resource, namespace, name, change, kind)

    def release(self, name: str = "mast") -> Release:
        """What was written down."""
        return read(self.get(SECRETS, f"mast-release-{name}"))


@contextmanager
def site(directory: Path, chart: Path) -> Iterator[Site]:
    """A cluster with nothing in it."""
    stuck: set[str] = set()
    with live_cluster(directory, stuck) as live:
        yield Site(live, chart, stuck)
