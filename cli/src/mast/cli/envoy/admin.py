"""Envoy's admin port, also that of a workload in a network namespace of its own."""

from __future__ import annotations

import ctypes
import http.client
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mast.cli.errors import CommandError

SECONDS: Final = 20
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of setns(2)."""


@dataclass(frozen=True)
class Admin:
    """The admin port at ``host:port``, seen from the network namespace at a path, if one is given.

    ``name`` is what users know it by.
    """

    address: str
    name: str = ""
    network: str = ""

    def get(self, path: str) -> str:
        """A page; CommandError if there is no answer or it is none of success."""
        return self._call("GET", path)

    def post(self, path: str) -> str:
        """The answer of something that changes the proxy."""
        return self._call("POST", path)

    def _call(self, method: str, path: str) -> str:
        # setns moves a thread: this one ends with the call.
        with ThreadPoolExecutor(1) as thread:
            try:
                status, text = thread.submit(self._answer, method, path).result()
            except OSError as error:
                who = self.name or "the proxy"
                raise CommandError(
                    f"the admin port of {who} at {self.address} does not answer: {error}",
                    hint="see which workloads run with: mastctl status",
                ) from error
        if status != http.client.OK:
            raise CommandError(f"{method} {path}: the proxy answers {status}: {text.strip()}")
        return text

    def _answer(self, method: str, path: str) -> tuple[int, str]:
        if self.network:
            _enter(self.network)
        connection = http.client.HTTPConnection(self.address, timeout=SECONDS)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def _enter(network: str) -> None:
    """Move this thread into a network namespace; needs root."""
    file = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file, _NEW_NETWORK) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter {network}: {os.strerror(number)}")
    finally:
        os.close(file)
