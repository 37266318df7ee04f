"""The little that the sample services share: an HTTP server and a client that passes headers on.

Nothing in here knows about a mesh. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Headers that belong to the user's request and must travel with every call made on its behalf.
PASSED_ON = ("end-user", "x-request-id", "traceparent", "tracestate", "authorization", "cookie")
PASSED_ON_PREFIXES = ("x-b3-", "x-demo-")

Handler = Callable[[str, Mapping[str, str]], tuple[int, Any]]


def name() -> str:
    """Which instance this is."""
    return os.environ.get("MAST_WORKLOAD") or os.environ.get("HOSTNAME", "unknown")


def fault() -> Mapping[str, Any]:
    """What this instance was told to do wrong: the JSON object in $FAULT_FILE, if there is one."""
    path = os.environ.get("FAULT_FILE", "")
    try:
        return dict(json.loads(Path(path).read_text())) if path else {}
    except (FileNotFoundError, ValueError):
        return {}


def caller(headers: Mapping[str, str]) -> str | None:
    """What the proxy in front of us says about the caller's certificate, if it had one."""
    return next((v for k, v in headers.items() if k.lower() == "x-forwarded-client-cert"), None)


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request that calls made on its behalf must carry."""
    return {
        k: v
        for k, v in headers.items()
        if k.lower() in PASSED_ON or k.lower().startswith(PASSED_ON_PREFIXES)
    }


def fetch(url: str, headers: Mapping[str, str], seconds: float = 5.0) -> tuple[int, Any]:
    """GET a JSON document on behalf of a request; (status, document or text)."""
    request = urllib.request.Request(url, headers=passed_on(headers))
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


def serve(handler: Handler) -> None:
    """Answer GET requests with ``handler(path, headers) -> (status, document)`` until SIGTERM.

    Listens on $HOST:$PORT. A ``str`` document is sent as HTML, anything else as JSON.
    """

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            status, document = handler(self.path, dict(self.headers.items()))
            html = isinstance(document, str)
            body = (document if html else json.dumps(document)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/html" if html else "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            sys.stderr.write(f"{self.log_date_time_string()} {format % args}\n")

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "9080"))
    server = Server((host, port), Requests)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print(f"{name()} listens on {host}:{port}", flush=True)
    server.serve_forever()
