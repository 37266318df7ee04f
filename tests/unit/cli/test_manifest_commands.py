"""manifest generate and diff, profile list and dump: an installation without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mast.cli.errors import CommandError
from mast.cli.main import app
from tests.support.chart import CHART, PROFILES, merged, name_of, profile, rendered

DEFINITIONS = len(list((CHART / "crds").iterdir()))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_generate(tmp_path: Path) -> None:
    result = run("manifest", "generate", "--profile", "minimal", "-r", "canary", "-i", "mesh")
    assert "Left out: Pod 'mast-test-control-plane', which is for `helm test`." in result.stderr
    found = list(yaml.load_all(result.stdout, yaml.CSafeLoader))
    kinds = [each["kind"] for each in found]
    assert set(kinds[:DEFINITIONS]) == {"CustomResourceDefinition"}
    assert kinds[-1] == "ValidatingWebhookConfiguration"
    wanted = rendered(merged(profile("minimal"), {"revision": "canary"}), "mesh")
    names = [name_of(each) for each in wanted if each["kind"] != "Pod"]
    assert sorted(map(name_of, found[DEFINITIONS:])) == sorted(names)
    written = run("manifest", "generate", "--profile", "minimal", "-o", str(tmp_path / "made"))
    assert written.exit_code == 0
    first, *_, last = sorted((tmp_path / "made").iterdir())
    assert first.name.startswith("000-customresourcedefinition-")
    assert "-validatingwebhookconfiguration-" in last.name
    (tmp_path / "file").touch()
    refused = run("manifest", "generate", "-o", str(tmp_path / "file"))
    assert isinstance(refused.exception, CommandError)


@pytest.mark.parametrize(
    ("arguments", "differences"),
    [
        ([], ["- A:n:gone", "+ A:n:new", "~ A:n:other", "    x: 1, want 2"]),
        (["--select", "*:n:g*"], ["- A:n:gone"]),
        (["--ignore", "A:n:gone", "--ignore", "A:n:new", "--ignore", "*:other"], []),
    ],
)
def test_diff(tmp_path: Path, arguments: list[str], differences: list[str]) -> None:
    def objects(**fields: int) -> str:
        return "---\n".join(
            f"{{apiVersion: v1, kind: A, metadata: {{name: {name}, namespace: n}}, x: {x}}}\n"
            for name, x in fields.items()
        )

    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "a.yaml").write_text(objects(gone=1, same=1))
    (tmp_path / "before" / "b.yml").write_text(objects(other=1))
    (tmp_path / "before" / "README.md").write_text("no manifest")
    (tmp_path / "after.yaml").write_text(objects(same=1, other=2, new=1))
    result = run(
        "manifest", "diff", str(tmp_path / "before"), str(tmp_path / "after.yaml"), *arguments
    )
    if differences:
        assert result.exit_code == 1
        assert result.stdout.splitlines() == ["Differences in manifests are:", *differences]
    else:
        assert (result.exit_code, result.stdout) == (0, "Manifests are identical\n")
    refused = run("manifest", "diff", str(tmp_path / "nowhere"), str(tmp_path))
    assert isinstance(refused.exception, CommandError)


def test_profiles(tmp_path: Path) -> None:
    listed = run("profile", "list").stdout.splitlines()
    assert listed == ["Mast configuration profiles:", *(f"    {name}" for name in PROFILES)]
    ha = yaml.safe_load(run("profile", "dump", "ha").stdout)
    assert (ha["galley"]["replicaCount"], ha["global"]["trustDomain"]) == (2, "cluster.local")
    file = tmp_path / "values.yaml"
    file.write_text(run("profile", "dump", "ha").stdout)
    again = run("manifest", "generate", "-f", str(file)).stdout
    assert again == run("manifest", "generate", "--profile", "ha").stdout
    part = run("profile", "dump", "-p", "galley.replicaCount", "-o", "json", "-s", "profile=ha")
    assert part.stdout == "2\n"
    refused = run("profile", "dump", "-p", "galley.nope")
    assert isinstance(refused.exception, CommandError)
