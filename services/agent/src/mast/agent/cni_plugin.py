"""mast-cni: what the container runtime calls (CNI specification 1.0, section 2).

It stands alone on the node: one file, the standard library, Python from 3.8. What is to be done it
leaves to the agent of the node, which listens on a Unix socket. Without an answer a pod does not
start, and the runtime tries again. Pods of excluded namespaces do not wait for it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SOCKET = "/var/run/mast-cni/plugin.sock"
SECONDS = 100

# Codes of the specification, "Error".
BAD_VERSION, BAD_ENVIRONMENT, BAD_CONTENT, BAD_CONFIG, TRY_AGAIN, UNAVAILABLE = 1, 4, 6, 7, 11, 50


class Refused(Exception):
    """Ends the call with a code of the specification."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main() -> int:
    """Do one call; its result is on standard output, whether good or bad."""
    version = VERSIONS[1]
    try:
        if os.environ.get("CNI_COMMAND") == "VERSION":
            answer: Any = {"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}
        else:
            config = _config(sys.stdin.read())
            version = config["cniVersion"]
            answer = _called(os.environ.get("CNI_COMMAND", ""), config)
    except Refused as refusal:
        _print({"cniVersion": version, "code": refusal.code, "msg": str(refusal)})
        return 1
    if answer is not None:
        _print(answer)
    return 0


def _print(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise Refused(BAD_CONTENT, f"network configuration: {error}") from error
    if not isinstance(config, dict):
        raise Refused(BAD_CONTENT, "network configuration: not an object")
    version = config.setdefault("cniVersion", VERSIONS[1])
    if version not in VERSIONS:
        raise Refused(BAD_VERSION, f"cniVersion {version!r}; allowed: {', '.join(VERSIONS)}")
    return config


def _called(command: str, config: dict[str, Any]) -> Any:
    if command in {"DEL", "GC"}:
        # The rules end with the network namespace.
        return None
    if command == "STATUS":
        _ask({"command": command}, config, UNAVAILABLE)
        return None
    if command not in {"ADD", "CHECK"}:
        raise Refused(BAD_ENVIRONMENT, f"CNI_COMMAND: {command!r} is not known")
    if not isinstance(config.get("prevResult"), dict):
        raise Refused(BAD_CONFIG, "prevResult: is missing; the plugin comes after another one")
    arguments = _arguments(os.environ.get("CNI_ARGS", ""))
    namespace = arguments.get("K8S_POD_NAMESPACE", "")
    name = arguments.get("K8S_POD_NAME", "")
    if namespace and name and namespace not in config.get("exclude_namespaces", ()):
        request = {"command": command, "namespace": namespace, "name": name}
        _ask({**request, "netns": _needed("CNI_NETNS")}, config, TRY_AGAIN)
    return (
        {**config["prevResult"], "cniVersion": config["cniVersion"]} if command == "ADD" else None
    )


def _needed(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise Refused(BAD_ENVIRONMENT, f"{variable}: is missing")
    return value


def _arguments(text: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in text.split(";"))
    return {name: value for name, _, value in pairs}


def _ask(request: dict[str, str], config: dict[str, Any], code: int) -> None:
    """Let the agent do it; raises Refused with what it says, or that it says nothing."""
    path = config.get("socket", SOCKET)
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(SECONDS)
            channel.connect(path)
            channel.sendall(json.dumps(request).encode() + b"\n")
            with channel.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise Refused(code, f"the agent of the node does not answer at {path}: {error}") from error
    if answer.get("error"):
        raise Refused(code, answer["error"])


if __name__ == "__main__":
    sys.exit(main())
