"""Calls a TCP or UDP server once and prints what it says; run as a program in a namespace."""

import socket
import sys


def main(kind: str, host: str, port: str, seconds: str = "3") -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    stream = kind == "tcp"
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as caller:
        caller.settimeout(float(seconds))
        try:
            caller.connect((host, int(port)))
            if not stream:
                caller.send(b"?")
            answer = caller.recv(100).decode().strip()
        except OSError as error:
            answer = f"failed: {type(error).__name__}"
    sys.stdout.write(answer or "closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
