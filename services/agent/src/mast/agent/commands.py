"""The commands beside `proxy`: small, synchronous, for init containers, hooks and people (B1)."""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as installed_version

from mast.agent.capture_command import istio_iptables
from mast.agent.core.node import ISTIO_VERSION
from mast.agent.machine_command import vm

_DEBUG_PORT = 15000
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks local ports directly, whatever ``http_proxy`` says."""


def version(_: Sequence[str]) -> int:
    """Print the version, and the Istio release whose proxies this one equals."""
    facts = {"version": installed_version("mast-agent"), "istio": ISTIO_VERSION}
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def wait(argv: Sequence[str]) -> int:
    """Wait until the proxy is ready; 1 if it is not in time."""
    parser = argparse.ArgumentParser(prog="mast-agent wait", description=wait.__doc__)
    parser.add_argument("--url", default="http://localhost:15021/healthz/ready")
    parser.add_argument("--timeoutSeconds", dest="timeout", type=int, default=60)
    parser.add_argument("--periodMillis", dest="period", type=int, default=500)
    parser.add_argument("--requestTimeoutMillis", dest="request", type=int, default=500)
    flags = parser.parse_args(argv)
    end = time.monotonic() + flags.timeout
    problem = "not asked"
    while time.monotonic() < end:
        status, problem = _call("GET", flags.url, flags.request / 1000)
        if status == 200:
            return 0
        time.sleep(flags.period / 1000)
    sys.stderr.write(f"mast-agent wait: {flags.url} not ready in {flags.timeout} s: {problem}\n")
    return 1


def request(argv: Sequence[str]) -> int:
    """Send a request to a local port and print the answer; 1 unless it is a success."""
    parser = argparse.ArgumentParser(prog="mast-agent request", description=request.__doc__)
    parser.add_argument("method")
    parser.add_argument("path")
    parser.add_argument("--debug-port", dest="port", type=int, default=_DEBUG_PORT)
    parser.add_argument("--host", default="localhost", help="where MAST_BIND_ADDRESS is set")
    flags = parser.parse_args(argv)
    url = f"http://{flags.host}:{flags.port}/{flags.path.lstrip('/')}"
    status, text = _call(flags.method.upper(), url, 60)
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return 0 if 200 <= status < 300 else 1


def istio_clean_iptables(argv: Sequence[str]) -> int:
    """Take capture away: `istio-iptables --cleanup-only`, as Istio's scripts call it."""
    return istio_iptables([*argv, "--cleanup-only"])


def _call(method: str, url: str, seconds: float) -> tuple[int, str]:
    """Status and body; status 0 and the reason if there is no answer."""
    message = urllib.request.Request(url, method=method)  # noqa: S310 - the user names the URL
    try:
        with _DIRECT.open(message, timeout=seconds) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "wait": wait,
    "request": request,
    "version": version,
    "istio-iptables": istio_iptables,
    "istio-clean-iptables": istio_clean_iptables,
    "vm": vm,
}
