"""Ways to a cluster: a pod's account and kubeconfigs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from mast.common.kubernetes import InvalidAccess, in_cluster, kubeconfig
from tests.support.pki import Ca

CA = Ca.root()
OWN = CA.leaf(dns=["me"])


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def config(
    user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **changes: Any
) -> str:
    whole: dict[str, Any] = {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "anonymous", "context": {"cluster": "c"}},
            {"name": "dangling", "context": {"cluster": "nowhere", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://k8s:6443/"}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    return yaml.safe_dump(whole | changes)


def test_token_and_current_context() -> None:
    access = kubeconfig(config())
    assert (access.server, access.token(), access.namespace) == ("https://k8s:6443", "secret", "ns")
    assert "secret" not in repr(access)


def test_a_context_by_name() -> None:
    access = kubeconfig(config(), "anonymous")
    assert (access.token(), access.namespace) == ("", "default")


def test_inline_certificates() -> None:
    user = {"client-certificate-data": data(OWN.chain), "client-key-data": data(OWN.key)}
    cluster = {
        "server": "https://k8s",
        "certificate-authority-data": data(CA.pem),
        "tls-server-name": "kubernetes",
    }
    access = kubeconfig(config(user, cluster))
    assert (access.ca_pem, access.client_cert_pem) == (CA.pem, OWN.chain)
    assert access.tls_server_name == "kubernetes"
    access.tls()


def test_a_name_and_a_password() -> None:
    access = kubeconfig(config({"username": "me", "password": "pass"}))
    assert access.authorization() == "Basic bWU6cGFzcw=="
    assert "pass" not in repr(access)
    assert kubeconfig(config()).authorization() == "Bearer secret"
    assert kubeconfig(config(), "anonymous").authorization() == ""


def test_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "token").write_text("first\n")
    cluster = {"server": "https://k8s", "certificate-authority": "ca.pem"}
    access = kubeconfig(config({"tokenFile": "token"}, cluster), base=tmp_path)
    assert access.ca_pem == CA.pem
    assert access.token() == "first"
    (tmp_path / "token").write_text("second\n")
    assert access.token() == "second"


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        pytest.param("a: [", "", "no YAML", id="yaml"),
        pytest.param("[]", "", "no mapping", id="no-mapping"),
        pytest.param(config(), "two", "contexts has no entry 'two'", id="context"),
        pytest.param(config(), "dangling", "clusters has no entry 'nowhere'", id="cluster"),
        pytest.param(config({"exec": {"command": "sh"}}), "", "exec is not", id="exec"),
        pytest.param(config({"auth-provider": {"name": "x"}}), "", "auth-provider", id="plug-in"),
        pytest.param(config({"tokenFile": "/etc/passwd"}), "", "not allowed here", id="token-file"),
        pytest.param(
            config(cluster={"server": "https://k", "certificate-authority": "/x"}),
            "",
            "certificate-authority: file paths are not allowed",
            id="ca-file",
        ),
        pytest.param(config(cluster={"server": "ftp://k"}), "", "want an http", id="server"),
        pytest.param("[" * 100_000, "", "no YAML", id="nested"),
        pytest.param(config({"as": "root"}), "", "as is not", id="impersonation"),
        pytest.param(config({"token": ["a"]}), "", "user 'u': token: want text", id="no-text"),
        pytest.param(config({"username": "u"}), "", "want both", id="no-password"),
        pytest.param(
            config({"client-key": "/x"}), "", "client-key: file paths are not", id="key-file"
        ),
        pytest.param(
            config({"client-certificate": "/x"}), "", "client-certificate: file", id="cert-file"
        ),
        pytest.param(
            config(cluster={"server": "https://k", "proxy-url": "socks5://p:1"}),
            "",
            "proxy-url: want an http:// URL",
            id="proxy",
        ),
        pytest.param(
            config({"client-key-data": "%"}), "", "client-key-data is no base64", id="base64"
        ),
    ],
)
def test_kubeconfigs_that_cannot_be_used(text: str, context: str, message: str) -> None:
    """Those that come over the network neither read our files nor run programs."""
    with pytest.raises(InvalidAccess, match=message):
        kubeconfig(text, context)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    cluster = {"server": "https://k8s", "certificate-authority": "ca.pem"}
    with pytest.raises(InvalidAccess, match="No such file"):
        kubeconfig(config(cluster=cluster), base=tmp_path)


def test_certificates_that_do_not_load() -> None:
    user = {"client-certificate-data": data(b"x"), "client-key-data": data(b"y")}
    with pytest.raises(InvalidAccess, match="TLS"):
        kubeconfig(config(user)).tls()


def test_a_pods_account(tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    with pytest.raises(InvalidAccess, match="service account"):
        in_cluster(env, tmp_path)
    (tmp_path / "ca.crt").write_bytes(CA.pem)
    (tmp_path / "token").write_text("one")
    access = in_cluster(env, tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:6443", "default")
    (tmp_path / "namespace").write_text("istio-system")
    (tmp_path / "token").write_text("two\n")
    assert in_cluster(env, tmp_path).namespace == "istio-system"
    assert access.token() == "two"


def test_no_pod() -> None:
    with pytest.raises(InvalidAccess, match="this is no pod"):
        in_cluster({})
