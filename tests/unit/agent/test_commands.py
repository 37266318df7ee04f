"""Commands beside `proxy` (citadel-and-agent.md B1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from mast.agent import commands
from mast.agent.main import main


class Answers(BaseHTTPRequestHandler):
    """503 twice, then 200; echoes the method."""

    left = 2

    def answer(self) -> None:
        status = 200 if self.path == "/ok" or Answers.left <= 0 else 503
        Answers.left -= 1
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{self.command} {self.path}".encode())

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Answers.left = 2
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_wait_until_ready(port: int) -> None:
    url = f"http://127.0.0.1:{port}/healthz/ready"
    assert commands.wait(["--url", url, "--periodMillis", "1"]) == 0
    assert Answers.left < 0, "asked until it was ready"


def test_wait_in_vain(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    Answers.left = 1000
    url = f"http://127.0.0.1:{port}/healthz/ready"
    assert commands.wait(["--url", url, "--timeoutSeconds", "1", "--periodMillis", "100"]) == 1
    assert "not ready in 1 s" in capsys.readouterr().err


def test_request(
    port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    there = ["--host", "127.0.0.1", "--debug-port", str(port)]
    assert commands.request(["post", "ok", *there]) == 0
    assert capsys.readouterr().out == "POST /ok\n"
    assert commands.request(["GET", "/x", *there]) == 1
    assert capsys.readouterr().out == "GET /x\n"


def test_request_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.request(["GET", "x", "--host", "127.0.0.1", "--debug-port", "9"]) == 1
    assert "refused" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.version([]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": "0.1.0", "istio": "1.30.3"}


@pytest.mark.parametrize("argv", [[], ["fly"]])
def test_unknown_commands_show_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"usage: mast-agent \{proxy,cni,wait,request,version"):
        main(argv)


def test_dispatch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out
