"""``python -m tests.support.template_program SERVICE FD``: what services of tests are forked from.

It loads a service's modules and then, for each order at the other end of the socket that is its
standard input, forks a child that runs the service. An order is JSON (arguments and variables) with
two file descriptors: the output of the child, and a socket where its pid is told at once and its
wait status at the end. It ends with the socket.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module

from tests.support.template import NUMBER, ORDER_BYTES


def main() -> None:
    """Load the service, answer orders; returns in children only, when their service has ended."""
    service = import_module(f"mast.{sys.argv[1]}.__main__")
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in children"
    with socket.socket(fileno=os.dup(0)) as orders:
        flags = _forked(orders)
    if flags is None:
        return
    sys.argv = [str(service.__file__), *flags]
    service.main()


def _forked(orders: socket.socket) -> list[str] | None:
    """The arguments of a child, in the child; None once there will be no more orders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended, end = socket.socketpair()
    for each in (ended, end):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end.fileno())
    reports: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select((orders, ended), (), ())
        if ended in ready:
            ended.recv(ORDER_BYTES)
            _reap(reports)
        if orders not in ready:
            continue
        told, passed, _, _ = socket.recv_fds(orders, ORDER_BYTES, 2)
        if not told:
            return None
        output, report = passed[0], socket.socket(fileno=passed[1])
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            for each in (ended, end, report, *reports.values()):
                each.close()
            return _become(output, **json.loads(told))
        os.close(output)
        reports[pid] = report
        _tell(report, pid)


def _reap(reports: dict[int, socket.socket]) -> None:
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with reports.pop(pid) as report:
            _tell(report, status)


def _tell(report: socket.socket, number: int) -> None:
    try:
        report.sendall(NUMBER.pack(number))
    except OSError:  # nobody wants to know any more
        return


def _become(output: int, *, flags: list[str], environment: dict[str, str]) -> list[str]:
    """Be like a process that has just begun."""
    for number, handler in _ORDINARY.items():
        signal.signal(number, handler)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    random.seed()
    return flags


_ORDINARY: dict[signal.Signals, signal.Handlers | Callable[..., object]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGCHLD: signal.SIG_DFL,
}


if __name__ == "__main__":
    main()
