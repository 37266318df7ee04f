"""What an agent does about parts that are missing when it starts (citadel-and-agent.md B10)."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mast.agent.assembly import Agent, Clocks, assemble
from mast.agent.config import Flags
from mast.agent.core import paths
from mast.agent.proxy import proxy
from mast.agent.store.inputs import gather


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent's directory with the mesh's root and nothing else."""
    monkeypatch.chdir(tmp_path)
    root = Path(paths.ROOT_CERTIFICATE)
    root.parent.mkdir(parents=True)
    root.write_text("ROOT")
    return tmp_path


def assembled(**env: str) -> Agent:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    clocks = Clocks(now=lambda: now, monotonic=lambda: 0.0, random=random.SystemRandom())
    return assemble(gather(Flags(), env), clocks)


def test_what_may_be_missing(place: Path) -> None:
    """Mesh file, labels, annotations, token: defaults, empty, a call without the header."""
    found = assembled()
    assert found.inputs.proxy_config.discovery_address == "istiod.istio-system.svc:15012"
    assert not {"LABELS", "ANNOTATIONS"} & found.inputs.node.metadata.keys()
    assert found.certificates is not None


def mesh_file(place: Path) -> None:
    path = place / "etc/istio/config/mesh"
    path.parent.mkdir(parents=True)
    path.write_text("defaultConfig: [")


def no_root(place: Path) -> None:
    (place / paths.ROOT_CERTIFICATE).unlink()


def nothing(place: Path) -> None:
    """Nothing is changed."""


@pytest.mark.parametrize(
    ("change", "env", "problem"),
    [
        pytest.param(mesh_file, {}, "./etc/istio/config/mesh: no YAML", id="mesh-file"),
        pytest.param(
            nothing, {"PROXY_CONFIG": "{statusPort: x}"}, "ProxyConfig of PROXY_CONFIG", id="config"
        ),
        pytest.param(no_root, {}, "roots for Citadel", id="ca-root"),
        pytest.param(nothing, {"CA_ROOT_CA": "./x.pem"}, "./x.pem: no such file", id="ca-root-ca"),
        pytest.param(nothing, {"XDS_ROOT_CA": "./x.pem"}, "XDS_ROOT_CA ./x.pem", id="xds-root"),
        pytest.param(
            nothing,
            {"WORKLOAD_IDENTITY_SOCKET_FILE": "spire"},
            "nobody serves ./var/run/secrets/workload-spiffe-uds/spire",
            id="sds-socket",
        ),
        pytest.param(
            nothing,
            {"ISTIO_META_DNS_CAPTURE": "true", "MAST_RESOLV_CONF": "./none"},
            "./none: no nameserver",
            id="resolv-conf",
        ),
        pytest.param(nothing, {"CA_PROVIDER": "Vault"}, "CA_PROVIDER 'Vault'", id="ca-provider"),
        pytest.param(nothing, {"SECRET_TTL": "soon"}, "environment variable SECRET_TTL", id="ttl"),
        pytest.param(
            nothing, {"WORKLOAD_RSA_KEY_SIZE": "1024"}, "WORKLOAD_RSA_KEY_SIZE 1024", id="weak-key"
        ),
        pytest.param(
            nothing,
            {"MAST_TOKEN_EXCHANGE_URL": "http://sts.test"},
            "MAST_TOKEN_EXCHANGE_URL",
            id="token-exchange",
        ),
    ],
)
def test_what_must_not_be_missing(
    place: Path,
    change: object,
    env: dict[str, str],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The agent ends with status 2 and says what it wants, so that it is started again."""
    assert callable(change)
    change(place)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert proxy([]) == 2
    assert problem in capsys.readouterr().err
