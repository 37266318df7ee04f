"""Where the agent's identity and trust come from (citadel-and-agent.md B2, B3)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mast.agent.config import Config
from mast.agent.store import identity
from mast.agent.store.credentials import Identity
from mast.agent.store.key_pairs import Mounted, write_pair
from mast.common.latest import Latest
from tests.support.pki import Ca, Pair

PLATFORM = "./var/run/secrets/workload-spiffe-credentials"
OWN = "./etc/certs"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca.root()


def put(where: str, ca: Ca) -> Pair:
    pair = ca.leaf(dns=["a"])
    write_pair(Path(where), pair.chain, pair.key, ca.pem, 0o600)
    return pair


@pytest.mark.parametrize(
    ("there", "env", "source"),
    [
        pytest.param([], {}, None, id="nothing-mounted"),
        pytest.param([PLATFORM, OWN], {}, PLATFORM, id="platform-first"),
        pytest.param([OWN], {}, OWN, id="own-directory"),
        pytest.param([OWN], {"OUTPUT_CERTS": "etc/certs"}, None, id="own-output-is-no-source"),
        pytest.param([PLATFORM], {"FILE_MOUNTED_CERTS": "true"}, OWN, id="file-mounted"),
    ],
)
def test_source(there: list[str], env: dict[str, str], source: str | None, ca: Ca) -> None:
    for where in there:
        put(where, ca)
    expected = Mounted(source) if source else None
    assert identity.mounted(Config.parse(env)) == expected


def test_an_incomplete_directory_is_no_source(ca: Ca) -> None:
    put(OWN, ca)
    Path(OWN, "key.pem").unlink()
    assert identity.mounted(Config.parse({})) is None


def test_presented_certificate(ca: Ca) -> None:
    """The provisioned pair until there is one of our own."""
    current: Latest[Identity | None] = Latest(None)
    assert identity.presented(Config.parse({}), current)() is None
    presented = identity.presented(Config.parse({"PROV_CERT": "./prov"}), current)
    assert presented() is None
    pair = put("./prov", ca)
    assert presented() == (pair.chain, pair.key)
    current.publish(Identity(b"chain", b"key", b"roots"))
    assert presented() == (b"chain", b"key")


def test_what_an_earlier_agent_left_is_presented(ca: Ca) -> None:
    """Of ``PROV_CERT`` and ``OUTPUT_CERTS`` whichever ends later (B2.1)."""
    env = {"PROV_CERT": "prov", "OUTPUT_CERTS": "out"}
    pair = identity.presented(Config.parse(env), Latest(None))
    assert pair() is None
    left = put("out", ca)
    assert pair() == (left.chain, left.key)
    longer = ca.leaf(dns=["a"], valid=(timedelta(0), timedelta(days=400)))
    write_pair(Path("prov"), longer.chain, longer.key, ca.pem, 0o600)
    assert pair() == (longer.chain, longer.key)


def test_token() -> None:
    assert identity.token() is None
    path = Path("./var/run/secrets/tokens/istio-token")
    path.parent.mkdir(parents=True)
    path.write_text(" \n")
    assert identity.token() is None
    path.write_text("abc\n")
    assert identity.token() == "abc"


def test_ca_roots(ca: Ca) -> None:
    current: Latest[Identity | None] = Latest(None)
    config = Config.parse({"CA_ROOT_CA": "roots.pem"})
    with pytest.raises(ValueError, match=r"roots.pem: no such file \(CA_ROOT_CA"):
        identity.ca_roots(config, "citadel:8060", current)
    assert callable(identity.ca_roots(config, "istiod:15010", current)), "plaintext needs none"
    Path("roots.pem").write_bytes(ca.pem)
    roots = identity.ca_roots(config, "citadel:8060", current)
    assert roots().strip() == ca.pem.strip()
    Path("roots.pem").write_bytes(b"new")
    assert roots() == b"new\n", "read anew"
    current.publish(Identity(b"", b"", b"of the mesh"))
    assert roots() == b"new\nof the mesh", "the CA may have another root by now"
    system = Config.parse({"CA_ROOT_CA": "SYSTEM"})
    assert identity.ca_roots(system, "citadel:8060", current)() == b""


def test_xds_roots() -> None:
    """A file's roots and those that came with our certificate."""
    current: Latest[Identity | None] = Latest(None)
    roots = identity.xds_roots(Config.parse({}), current)
    assert roots() == b""
    mesh = Path("./var/run/secrets/istio/root-cert.pem")
    mesh.parent.mkdir(parents=True)
    mesh.write_bytes(b"mesh;")
    assert roots() == b"mesh;"
    current.publish(Identity(b"", b"", b"own;"))
    assert roots() == b"mesh;own;"
    Path(OWN).mkdir(parents=True)
    Path(OWN, "root-cert.pem").write_bytes(b"mounted;")
    assert roots() == b"mounted;own;"
    assert identity.xds_roots(Config.parse({"XDS_ROOT_CA": "SYSTEM"}), current)() == b""
    with pytest.raises(ValueError, match=r"XDS_ROOT_CA absent.pem: no such file"):
        identity.xds_roots(Config.parse({"XDS_ROOT_CA": "absent.pem"}), current)


def test_headers() -> None:
    env = {"XDS_HEADER_X-Team": "shop", "XDS_HEADER_B": "2", "CA_HEADER_C": "3"}
    assert identity.headers(env, "XDS_HEADER_") == [("b", "2"), ("x-team", "shop")]
