"""
`python -m tests.integration.qrs.cut_link`: what a server still gets of a POST when the link comes back.

Runs in a network name space of its own, as root there, and makes a second one with the server, joined
by one link. Two clients post over it once, then once more with the link cut, and give up: the transport
of the daemon, and a socket that is just closed. When what the second has posted has reached the server
all the same, both post a last time. Prints a line for each POST that has come until then.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from butler_mqtt.qrs.answer_limits import Limits
from butler_mqtt.qrs.transport import ExchangeFailed, Transport
from butler_mqtt.settings import QrsSettings

#: Addresses that are for documentation only (RFC 5737).
HERE, THERE, PORT = "192.0.2.1", "192.0.2.2", 4242
MAC = "02:00:00:00:00:02"
READY = "ready"
#: Seconds that the client waits for an answer before it closes its connection.
GIVES_UP = 1.0
#: Seconds in which TCP has sent again what was not acknowledged when the link is back: its pauses double, and
#: the link is away for little more than a second.
AGAIN = 10.0
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def serve() -> None:
    """Print the first line of each request, as it comes."""
    with socket.create_server((THERE, PORT)) as listener:
        print(READY, flush=True)  # noqa: T201 -- the other side waits for it
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=_answer, args=(peer,), daemon=True).start()


def _answer(peer: socket.socket) -> None:
    try:
        with peer, peer.makefile("rb") as reader:
            while line := reader.readline():
                while reader.readline().strip():
                    pass
                print(line.decode().split("?")[0].split()[1], flush=True)  # noqa: T201 -- as above
                peer.sendall(ANSWER)
    except OSError:
        pass


def over_transport() -> Callable[[str], None]:
    """Post as the daemon does."""
    transport = Transport(QrsSettings(host=THERE, port=PORT, use_ssl=False), limits=Limits(GIVES_UP))

    def post(path: str) -> None:
        try:
            transport.exchange("POST", path)
        except ExchangeFailed as error:
            if not error.sent:  # then nothing is shown
                raise

    return post


def over_socket() -> Callable[[str], None]:
    """Post as a client that just closes its connection."""
    connection = http.client.HTTPConnection(THERE, PORT, timeout=GIVES_UP)

    def post(path: str) -> None:
        connection.request("POST", f"/qrs{path}")
        try:
            connection.getresponse().read()
        except TimeoutError:
            connection.close()

    return post


def run(*command: str) -> None:
    """Run a command, which must succeed."""
    subprocess.run(command, check=True, timeout=60)


def main() -> None:
    """Post before, with and after the cut, and print what came."""
    run("ip", "link", "add", "name", "here", "type", "veth", "peer", "name", "there", "address", MAC)
    run("ip", "address", "add", f"{HERE}/24", "dev", "here")
    run("ip", "link", "set", "here", "up")
    # Else the last packet would wait for ARP for up to three seconds, out of reach of TCP.
    run("ip", "neighbour", "add", THERE, "lladdr", MAC, "dev", "here", "nud", "permanent")
    server = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-m", "tests.integration.qrs.cut_link", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        _join(server)
        came: list[str] = []
        reached = threading.Condition()

        def listen() -> None:
            for line in server.stdout or ():
                with reached:
                    came.append(line.strip())
                    reached.notify_all()

        threading.Thread(target=listen, daemon=True).start()
        clients = {"transport": over_transport(), "socket": over_socket()}
        for name, post in clients.items():
            post(f"/{name}/before")
        there = ("nsenter", "--net", "--target", str(server.pid), "ip", "link", "set", "there")
        run(*there, "down")
        # At the same time, so that TCP sends both again at the same times; the socket's behind the other's.
        giving_up = [
            threading.Thread(target=post, args=(f"/{name}/cut-off",)) for name, post in clients.items()
        ]
        for thread in giving_up:
            thread.start()
        for thread in giving_up:
            thread.join()
        run(*there, "up")
        with reached:
            assert reached.wait_for(lambda: "/qrs/socket/cut-off" in came, AGAIN), came
        for name, post in clients.items():
            post(f"/{name}/after")
        with reached:
            assert reached.wait_for(lambda: "/qrs/socket/after" in came, AGAIN), came
        print(*came, sep="\n")  # noqa: T201 -- what the test reads
    finally:
        server.kill()
        server.wait(60)


def _join(server: subprocess.Popen[str]) -> None:
    """Return the server its end of the link; it waits for that."""
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{server.pid}/ns/net").readlink() == own:
        threading.Event().wait(0.01)
    run("ip", "link", "set", "there", "netns", str(server.pid))
    enter = ("nsenter", "--net", "--target", str(server.pid))
    run(*enter, "ip", "address", "add", f"{THERE}/24", "dev", "there")
    run(*enter, "ip", "link", "set", "there", "up")
    assert server.stdin is not None
    server.stdin.write("go\n")
    server.stdin.flush()
    assert server.stdout is not None
    assert server.stdout.readline().strip() == READY


if __name__ == "__main__":
    if "--serve" in sys.argv:
        sys.stdin.readline()
        serve()
    else:
        main()
