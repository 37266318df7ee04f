"""The chart: where it is found, its profiles, what is rendered, and what mastctl brings with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mast.cli.errors import CommandError
from mast.cli.install.chart import Chart, loaded
from tests.support.chart import CHART, PROFILES, Object, name_of, rendered

CLI = Path(__file__).parents[4] / "cli"
HOOK = """
apiVersion: batch/v1
kind: Job
metadata: {name: late, annotations: {"helm.sh/hook": "test, post-install"}}
"""


def small(directory: Path, **templates: str) -> Path:
    (directory / "templates").mkdir(parents=True)
    (directory / "Chart.yaml").write_text("{apiVersion: v2, name: small, version: 1.2.3}")
    for name, text in templates.items():
        (directory / "templates" / f"{name}.yaml").write_text(text)
    return directory


@pytest.fixture(scope="module")
def chart() -> Chart:
    return loaded(None)


def objects(chart: Chart, values: Object) -> list[Object]:
    return chart.rendered(values, release="mast", namespace="istio-system").objects


def test_what_is_rendered_is_what_helm_installs(chart: Chart) -> None:
    made = chart.rendered({}, release="mast", namespace="istio-system")
    everything = sorted(map(name_of, rendered()))
    tests = ["Pod/mast-test-control-plane"]
    assert sorted([*map(name_of, made.objects), *tests]) == everything
    assert made.left_out == ("Pod 'mast-test-control-plane'",)
    assert made.notes.startswith("Mast 0.1.0 is installed in istio-system")
    assert len(made.definitions) == len(list((CHART / "crds").iterdir()))
    assert (chart.name, chart.version, chart.kubernetes) == ("mast", "0.1.0", ">=1.27.0-0")


def test_profiles(chart: Chart) -> None:
    assert tuple(chart.profiles()) == PROFILES
    assert chart.profile("default") == {}
    for name in PROFILES:
        assert objects(chart, chart.profile(name))
    with pytest.raises(CommandError, match="profile 'x': there is none; want one of default, "):
        chart.profile("x")


@pytest.mark.parametrize("place", ["", "mast", "charts/mast", "manifests/charts/mast"])
def test_where_a_chart_may_be(tmp_path: Path, place: str) -> None:
    small(tmp_path / place)
    assert loaded(tmp_path).version == "1.2.3"


def test_an_archive(tmp_path: Path) -> None:
    small(tmp_path / "small")
    archive = shutil.make_archive(str(tmp_path / "small"), "gztar", tmp_path, "small")
    assert loaded(Path(archive)).name == "small"


def test_what_is_no_chart(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"there is no Chart\.yaml"):
        loaded(tmp_path)
    (tmp_path / "x.tgz").write_text("no archive")
    with pytest.raises(CommandError, match=r"x\.tgz: no chart: "):
        loaded(tmp_path / "x.tgz")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (HOOK, "Job 'late': helm.sh/hook: test, post-install; want test, "),
        ("{{ nope }}", "the chart: "),
        ("a: [", r"small/templates/x\.yaml: "),
        ("kind: A", r"small/templates/x\.yaml: want objects with apiVersion"),
    ],
)
def test_what_cannot_be_rendered(tmp_path: Path, template: str, problem: str) -> None:
    chart = loaded(small(tmp_path, x=template))
    with pytest.raises(CommandError, match=problem):
        objects(chart, {})


def test_the_wheel_brings_the_chart(tmp_path: Path) -> None:
    """Built from the source distribution, as package indexes have it."""
    source = CLI / "pyproject.toml"
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t"]
    subprocess.run([*build, "sdist"], cwd=source.parent, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run([*build, "wheel"], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "site")
    chart = loaded(tmp_path / "site" / "mast" / "cli")
    assert (chart.name, len(chart.profiles())) == ("mast", len(PROFILES))
    assert objects(chart, {}) == objects(loaded(None), {})
