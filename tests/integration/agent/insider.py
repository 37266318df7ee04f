"""Does things inside a network namespace for tests; run as a program there, as root.

Reads an order a line (JSON) and prints its result: programs and calls cost no start of their own,
yet each runs in a process of its own, as a user of its own.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from mast.agent.main import main as agent
from tests.integration.agent import caller


def command(order: Mapping[str, Any]) -> None:
    """Run ``mast-agent`` with arguments and variables."""
    os.environ.update(order["env"])
    agent(order["argv"])


def call(order: Mapping[str, Any]) -> None:
    """Call a server as a user and print what it says."""
    if order["uid"]:
        os.setgroups(())
        os.setgid(order["uid"])
        os.setuid(order["uid"])
    caller.main(order["kind"], order["host"], order["port"], order["seconds"])


def stats(order: Mapping[str, Any]) -> None:
    """Print Envoy's statistics that match a filter, as JSON."""
    url = f"http://127.0.0.1:15000/stats?format=json&filter={order['filter']}"
    with urllib.request.urlopen(url, timeout=10) as page:
        sys.stdout.write(page.read().decode())


ORDERS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "command": command,
    "call": call,
    "stats": stats,
}


def in_a_child(order: Mapping[str, Any]) -> dict[str, Any]:
    """Exit status of an order, and all that it printed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(perform(order, writing))
    os.close(writing)
    with os.fdopen(reading) as output:
        text = output.read()
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status), "output": text}


def perform(order: Mapping[str, Any], writing: int) -> int:
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    status = 0
    try:
        ORDERS[order["do"]](order)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
        status = 255
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(in_a_child(json.loads(line))) + "\n")
        sys.stdout.flush()
