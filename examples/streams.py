"""Streams: a TCP server and many clients, in one process and one thread.

An echo server on a loopback port, and clients that each send some lines and check the echo. The server has
one coroutine per connection, written as if there were only that one.

    python examples/streams.py [CLIENTS [LINES]]
"""

import asyncio
import sys
import time


class EchoServer:
    def __init__(self):
        self.connections = 0
        self.lines = 0
        self.open = 0
        self.most_open = 0

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while line := await reader.readline():
                self.lines += 1
                writer.write(line)
                await writer.drain()  # waits while the client is slower than we are
        finally:
            self.open -= 1
            writer.close()
            await writer.wait_closed()


async def client(number, lines, host, port):
    """Send some lines, and check that each comes back. Returns the time of each round trip."""
    reader, writer = await asyncio.open_connection(host, port)
    times = []
    for count in range(lines):
        message = f"client {number}, line {count}\n".encode()
        start = time.perf_counter()
        writer.write(message)
        await writer.drain()
        answer = await reader.readline()
        times.append(time.perf_counter() - start)
        if answer != message:
            raise RuntimeError(f"sent {message!r}, got {answer!r}")
    writer.close()
    await writer.wait_closed()
    return times


async def bulk(size, host, port):
    """Send much more than the buffers hold while reading the echo: writing and reading overlap."""
    reader, writer = await asyncio.open_connection(host, port)
    line = b"x" * 16_383 + b"\n"

    async def send():
        for _ in range(size // len(line)):
            writer.write(line)
            await writer.drain()
        writer.write_eof()

    start = time.perf_counter()
    _, answer = await asyncio.gather(send(), reader.read(-1))
    took = time.perf_counter() - start
    writer.close()
    await writer.wait_closed()
    return len(answer), took


async def main(clients, lines):
    echo = EchoServer()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0, backlog=clients)
    host, port = server.sockets[0].getsockname()
    async with server:
        print(f"An echo server on {host}:{port}, {clients} clients, {lines} lines each")
        start = time.perf_counter()
        results = await asyncio.gather(*(client(number, lines, host, port) for number in range(clients)))
        took = time.perf_counter() - start
        times = sorted(second for times in results for second in times)
        median, longest = times[len(times) // 2], times[-1]
        print(f"  {echo.connections} connections, {echo.most_open} open at once, {echo.lines:,} lines echoed")
        print(f"  {took:.2f} s in all: {len(times) / took:,.0f} round trips a second")
        print(f"  a round trip took {median * 1e3:.1f} ms in the median, {longest * 1e3:.1f} ms at most")
        size, took = await bulk(64 * 2**20, host, port)
        mib = size / 2**20
        print(f"  {mib:.0f} MiB there and back in {took:.2f} s: {mib / took:,.0f} MiB a second")


if __name__ == "__main__":
    asyncio.run(main(*(map(int, sys.argv[1:3])) if len(sys.argv) > 2 else (200, 50)))
