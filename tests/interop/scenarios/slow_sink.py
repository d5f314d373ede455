"""A server that takes one octet a second: ``python slow_sink.py PORT STAGE``.

STAGE is ``commands``: it is slow from the first command on; or ``content``: it answers to commands
at once, and is slow with what follows DATA. It prints a line for each connection and each message.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

LAST = {b"EHLO": b"250 slow.example\r\n", b"DATA": b"354 go ahead\r\n", b"QUIT": b"221 bye\r\n"}


def octets(connection: socket.socket, wait: float) -> bytes:
    """What was sent next: one octet, after a while, or as many as there are."""
    time.sleep(wait)
    return connection.recv(1 if wait else 4096)


def serve(connection: socket.socket, slow: bool) -> None:
    """Serve one client until it leaves."""
    connection.sendall(b"220 slow.example ESMTP\r\n")
    buffered, in_content = b"", False
    while more := octets(connection, 1.0 if slow or in_content else 0.0):
        buffered += more
        if in_content:
            if buffered.endswith(b"\r\n.\r\n"):
                print("message", flush=True)
                connection.sendall(b"250 taken\r\n")
                buffered, in_content = b"", False
            continue
        while b"\r\n" in buffered and not in_content:
            command, _, buffered = buffered.partition(b"\r\n")
            connection.sendall(LAST.get(command[:4].upper(), b"250 well\r\n"))
            in_content = command.upper() == b"DATA"


def main(port: int, stage: str) -> None:
    """Listen for ever."""
    with socket.create_server(("127.0.0.1", port), backlog=1000) as listening:
        # What the system takes for us is taken, too.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        while True:
            connection, _ = listening.accept()
            print("connection", flush=True)
            threading.Thread(
                target=serve, args=(connection, stage == "commands"), daemon=True
            ).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
