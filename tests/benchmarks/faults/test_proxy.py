from __future__ import annotations

import gc
import socket
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from benchmarks.faults.proxy import Proxy
from launcher.stack.supervisor import free_port


def echo(server: socket.socket) -> None:
    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except ConnectionResetError:
                return

    while True:
        try:
            connection = server.accept()[0]
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Leads to a server that sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with Proxy(free_port(), to=server.getsockname()[1]) as running:
            yield running
        server.shutdown(socket.SHUT_RDWR)


def through(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def test_what_is_sent_passes_and_so_does_the_end(proxy: Proxy) -> None:
    sent = bytes(range(256)) * 1000

    def send(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

    with through(proxy) as connection:
        threading.Thread(target=send, args=(connection,)).start()
        found = b""
        while data := connection.recv(65536):
            found += data
    assert found == sent


def test_it_delays(proxy: Proxy) -> None:
    proxy.delay_s = 0.2
    with through(proxy) as connection:
        began = time.monotonic()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert time.monotonic() - began >= 0.4


def test_it_drops_and_refuses_until_it_is_healed(proxy: Proxy) -> None:
    with through(proxy) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        proxy.refuses = True
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError), through(proxy) as connection:
        connection.recv(1)
    proxy.heal()
    with through(proxy) as connection:
        connection.sendall(b"y")
        assert connection.recv(1) == b"y"


def test_it_ends_at_any_moment_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(60):
            with Proxy(free_port(), to=server.getsockname()[1]) as proxy:
                with through(proxy):
                    time.sleep(number / 20_000)
        # What was left open says so as it is collected; pytest makes that an error of this test.
        gc.collect()
