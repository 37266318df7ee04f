"""How to reach a cluster: the service account's files, or a kubeconfig."""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mast.common.identity.tls_pair import load_pair

# What of a user would run programs, or change who we are.
_REFUSED = ("exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra")

SERVICE_ACCOUNT_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class InvalidAccess(Exception):
    """A kubeconfig or service account that cannot be used; says what is wrong where."""


@dataclass(frozen=True)
class Access:
    """The address of an API server and what proves us to it.

    ``token`` is asked before every call, so a token that is rotated in its file is taken up.
    ``ca_pem`` b"" means the system's roots. ``password`` is ``NAME:PASSWORD``, for servers that
    take neither tokens nor certificates; ``proxy`` the URL of an HTTP proxy before the server.
    """

    server: str
    ca_pem: bytes = b""
    token: Callable[[], str] = field(default=lambda: "", repr=False)
    client_cert_pem: bytes = b""
    client_key_pem: bytes = field(default=b"", repr=False)
    password: str = field(default="", repr=False)
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    insecure: bool = False
    namespace: str = "default"

    def authorization(self) -> str:
        """The value of the header of this name, "" if there is none."""
        if token := self.token():
            return f"Bearer {token}"
        return f"Basic {base64.b64encode(self.password.encode()).decode()}" if self.password else ""

    def tls(self) -> ssl.SSLContext:
        """The context for connections to the server; InvalidAccess if the PEM does not load."""
        try:
            context = ssl.create_default_context(cadata=self.ca_pem.decode() or None)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert_pem:
                load_pair(context, self.client_cert_pem, self.client_key_pem)
        except (OSError, ValueError) as error:
            raise InvalidAccess(f"{self.server}: TLS: {error}") from error
        return context


def in_cluster(env: Mapping[str, str], files: Path = SERVICE_ACCOUNT_FILES) -> Access:
    """What a pod's own service account gives (Kubernetes, "Accessing the API from a Pod").

    Raises InvalidAccess if this is no pod with a mounted account.
    """
    host = env.get("KUBERNETES_SERVICE_HOST", "")
    port = env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InvalidAccess("KUBERNETES_SERVICE_HOST is not set: this is no pod")
    try:
        ca_pem = (files / "ca.crt").read_bytes()
        (files / "token").read_bytes()
    except OSError as error:
        raise InvalidAccess(f"service account: {error}") from error
    namespace = files / "namespace"
    address = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{address}:{port}",
        ca_pem=ca_pem,
        token=lambda: (files / "token").read_text().strip(),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


def kubeconfig(text: str | bytes, context: str = "", *, base: Path | None = None) -> Access:
    """The access that a kubeconfig's context describes, by default its current one.

    Paths are read relative to ``base``; without it, as for a kubeconfig that came over the network,
    they are refused. Plug-ins (``exec``, ``auth-provider``) are always refused: they would run
    programs of whoever wrote it. So is what is not understood and says who one is (``as``), and
    proxies that do not speak HTTP. Raises InvalidAccess naming the entry.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidAccess(f"kubeconfig is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidAccess("kubeconfig is no mapping")
    name = context or _text(document, "current-context")
    chosen = _entry(document, "contexts", "context", name)
    cluster = _entry(document, "clusters", "cluster", _text(chosen, "cluster", "context: "))
    user_name = _text(chosen, "user", "context: ")
    user = _entry(document, "users", "user", user_name) if user_name else {}
    namespace = _text(chosen, "namespace", "context: ") or "default"
    return _access(cluster, user, user_name, namespace, base)


def _access(
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    name: str,
    namespace: str,
    base: Path | None,
) -> Access:
    for refused in _REFUSED:
        if user.get(refused):
            raise InvalidAccess(f"user {name!r}: {refused} is not supported")
    proxy = _text(cluster, "proxy-url", "cluster: ")
    if proxy and not proxy.startswith("http://"):
        raise InvalidAccess("cluster: proxy-url: want an http:// URL")
    server = _text(cluster, "server", "cluster: ")
    if not server.startswith(("https://", "http://")):
        raise InvalidAccess(f"cluster: server {server!r}: want an http(s) URL")
    token_file = _text(user, "tokenFile", f"user {name!r}: ")
    if token_file:
        path = _path(token_file, f"user {name!r}: tokenFile", base)
        token: Callable[[], str] = lambda: path.read_text().strip()  # noqa: E731
    else:
        fixed = _text(user, "token", f"user {name!r}: ")
        token = lambda: fixed  # noqa: E731
    where = f"user {name!r}: client-"
    return Access(
        server=server.rstrip("/"),
        ca_pem=_content(cluster, "certificate-authority", "cluster: ", base),
        token=token,
        client_cert_pem=_content(user, "client-certificate", where, base),
        client_key_pem=_content(user, "client-key", where, base),
        password=_password(user, name),
        tls_server_name=_text(cluster, "tls-server-name", "cluster: "),
        proxy=proxy,
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        namespace=namespace,
    )


def _password(user: Mapping[str, Any], name: str) -> str:
    username, password = (_text(user, key, f"user {name!r}: ") for key in ("username", "password"))
    if bool(username) != bool(password) or ":" in username:
        raise InvalidAccess(f"user {name!r}: want both username, without ':', and password")
    return f"{username}:{password}" if username else ""


def _entry(document: Mapping[str, Any], kind: str, part: str, name: str) -> Mapping[str, Any]:
    entries = document.get(kind)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(part)
            return found if isinstance(found, dict) else {}
    raise InvalidAccess(f"kubeconfig: {kind} has no entry {name!r}")


def _text(source: Mapping[str, Any], key: str, where: str = "kubeconfig: ") -> str:
    """A field, "" if it is not there or null; of what is no text the size may be anything."""
    value = source.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidAccess(f"{where}{key}: want text")
    return value or ""


def _content(source: Mapping[str, Any], key: str, where: str, base: Path | None) -> bytes:
    inline = _text(source, f"{key}-data", where)
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except binascii.Error as error:
            raise InvalidAccess(f"{where}{key}-data is no base64") from error
    named = _text(source, key, where)
    if not named:
        return b""
    try:
        return _path(named, f"{where}{key}", base).read_bytes()
    except OSError as error:
        raise InvalidAccess(f"{where}{key}: {error}") from error


def _path(named: str, where: str, base: Path | None) -> Path:
    if base is None:
        raise InvalidAccess(f"{where}: file paths are not allowed here")
    return base / named
