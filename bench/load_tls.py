"""The load client over TLS: what load.py does, for the rows with TLS. It is in Python on every machine, since OpenSSL's
headers seldom are.

    load_tls.py mode=echo pid=... port=... ...      the same arguments and the same JSON as load.py, which see

In mode=connect each connection makes a full handshake: no session is taken up again.
"""

from __future__ import annotations

import resource
import selectors
import socket
import ssl
import sys

from load import CHUNK, Client, Connection


class TLSClient(Client):
    def __init__(self, **arguments: str) -> None:
        arguments.pop("tls")
        super().__init__(**arguments)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def begin(self) -> None:
        sock = self.dial()
        sock.setblocking(False)
        secured = self.context.wrap_socket(sock, do_handshake_on_connect=False)
        self.selector.register(secured, selectors.EVENT_READ, Connection())
        self.send(secured, self.selector.get_key(secured).data)

    def send(self, sock: socket.socket, c: Connection) -> None:
        more = 0
        try:
            while c.sent < self.request:
                c.sent += sock.send(memoryview(self.payload)[c.sent : c.sent + 65536])
        except ssl.SSLWantWriteError:
            more = selectors.EVENT_WRITE
        except ssl.SSLWantReadError:
            more = 0  # in the handshake
        if self.selector.get_key(sock).events != selectors.EVENT_READ | more:
            self.selector.modify(sock, selectors.EVENT_READ | more, c)

    def receive(self, sock: socket.socket, c: Connection) -> None:
        if c.sent < self.request:
            self.send(sock, c)
        while True:
            try:
                data = sock.recv(CHUNK)
            except ssl.SSLWantReadError:
                return
            if self.request == self.response and data != self.payload[c.got : c.got + len(data)]:
                raise RuntimeError("the response is not the request")
            c.got += len(data)
            if self.mode == "connect":
                if not data:
                    if c.got < self.response:
                        raise RuntimeError("the server closed before its whole response")
                    self.selector.unregister(sock)
                    sock.close()
                    self.exchanges += 1
                    self.begin()
                    return
            elif not data:
                raise RuntimeError("the server closed a connection")
            elif c.got == self.response:
                self.exchanges += 1
                c.sent = c.got = 0
                self.send(sock, c)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    TLSClient(**dict(argument.split("=", 1) for argument in sys.argv[1:])).drive()


if __name__ == "__main__":
    main()
