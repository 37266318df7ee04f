"""Tells every caller how it looks: answers TCP and UDP with the address of the peer.

Run as a program: ``mirror.py PORT…`` listens on IPv4 and IPv6, ``mirror.py --udp HOST PORT WORD``
answers datagrams with a word. Prints ``ready`` once it listens.
"""

import asyncio
import sys
from typing import cast


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, word: str) -> None:
        self._word = word

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._word.encode(), addr)


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host = writer.get_extra_info("peername")[0]
    writer.write(f"{host}\n".encode())
    await writer.drain()
    writer.close()


async def main(arguments: list[str]) -> None:
    if arguments[0] == "--udp":
        _, host, port, word = arguments
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: Datagrams(word), local_addr=(host, int(port)))
    else:
        for port in arguments:
            await asyncio.start_server(tell, "0.0.0.0", int(port))  # noqa: S104
            await asyncio.start_server(tell, "::", int(port))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
