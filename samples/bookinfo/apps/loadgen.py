"""loadgen: sends requests like any program would, and reports what came back.

By hand:    python loadgen.py http://productpage:9080/productpage -n 20 -c 2
As a tool:  python loadgen.py --control /path/to.sock
            One JSON object a line asks for a job, one JSON object a line answers it:
            {"url", "count", "concurrency", "headers", "seconds", "while", "interval_ms",
             "keep_bodies"}
            -> {"results": [{"status", "ms", "at", "body" | "error"}, ...]}
            A job with "seconds" runs that long instead of a count, with "while" only as long as
            there is a file of that name.

HTTP goes through $http_proxy if it is set. Standard library only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 15.0


class Client:
    """One keep-alive connection."""

    def __init__(self, url: str, headers: Mapping[str, str], keep_bodies: bool) -> None:
        target = urlsplit(url)
        proxy = urlsplit(os.environ.get("http_proxy", ""))
        host = target.hostname or ""
        through = bool(proxy.hostname) and host not in {"localhost", "127.0.0.1"}
        self._address = (
            (proxy if through else target).hostname or "",
            ((proxy if through else target).port or 80),
        )
        self._path = (
            url if through else (target.path or "/") + (f"?{target.query}" * bool(target.query))
        )
        self._headers = {"host": target.netloc, **headers}
        self._keep = keep_bodies
        self._connection: http.client.HTTPConnection | None = None

    def get(self) -> dict[str, Any]:
        """One request: status and milliseconds, the body if asked for, or the error."""
        began = time.monotonic()
        result: dict[str, Any] = {"at": time.time()}
        try:
            status, body = self._exchange()
            result["status"] = status
            if self._keep:
                result["body"] = body.decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            result |= {"status": 0, "error": f"{type(error).__name__}: {error}"}
        result["ms"] = round((time.monotonic() - began) * 1000, 3)
        return result

    def _exchange(self) -> tuple[int, bytes]:
        fresh = self._connection is None
        try:
            return self._once()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # A server may close a kept connection at any time; such a request was never answered
            # and may be sent once more on a new one (RFC 9112, 9.3.1).
            if fresh:
                raise
            self._drop()
            return self._once()

    def _once(self) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        self._connection.request("GET", self._path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.will_close:
            self._drop()
        return answer.status, body

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Do one job; results in order of completion."""
    results: list[dict[str, Any]] = []
    lock = threading.Lock()
    left = [int(job.get("count", 1))]
    until = time.monotonic() + float(job["seconds"]) if "seconds" in job else None
    pause = float(job.get("interval_ms", 0)) / 1000
    going = Path(job["while"]) if "while" in job else None

    def next_one() -> bool:
        if until is not None:
            return time.monotonic() < until and (going is None or going.exists())
        with lock:
            left[0] -= 1
            return left[0] >= 0

    def work() -> None:
        client = Client(job["url"], job.get("headers", {}), bool(job.get("keep_bodies")))
        while next_one():
            result = client.get()
            with lock:
                results.append(result)
            if pause:
                time.sleep(pause)

    workers = [threading.Thread(target=work) for _ in range(int(job.get("concurrency", 1)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def control(path: str) -> None:
    """Take jobs on a Unix socket until SIGTERM; every connection is served by its own thread."""

    class Jobs(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                answer = {"results": run(json.loads(line))}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

    Path(path).unlink(missing_ok=True)
    server = Server(path, Jobs)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    Path(path).unlink(missing_ok=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Send HTTP requests and count the answers.")
    parser.add_argument("url", nargs="?")
    parser.add_argument("-n", "--count", type=int, default=10)
    parser.add_argument("-c", "--concurrency", type=int, default=1)
    parser.add_argument("-H", "--header", action="append", default=[], help="name: value")
    parser.add_argument("--control", help="Unix socket to take jobs on")
    options = parser.parse_args()
    if options.control:
        control(options.control)
        return
    if not options.url:
        parser.error("give a URL")
    headers = dict(h.split(": ", 1) for h in options.header)
    job = {"url": options.url, "count": options.count, "concurrency": options.concurrency}
    results = run({**job, "headers": headers})
    times = sorted(r["ms"] for r in results)
    statuses = Counter(r["status"] for r in results)
    print(json.dumps({"statuses": statuses, "p50_ms": times[len(times) // 2], "max_ms": times[-1]}))
    sys.exit(0 if set(statuses) == {200} else 1)


if __name__ == "__main__":
    main()
