"""Real applications, unmodified: aiohttp and uvicorn with 10,000 requests each, an anyio program, thousands of idle
connections; and what is left behind after many loops and connections."""
import asyncio
import gc
import os
import resource
import socket

import pytest

REQUESTS = 10_000
CLIENTS = 50
CONNECTIONS = 100


async def fetch_all(port, path=b"/"):
    """REQUESTS requests over CLIENTS kept connections; how often each status line came."""
    statuses = {}

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(REQUESTS // CLIENTS):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status = await reader.readline()
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            assert await reader.readexactly(length) == b"hello"
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return statuses


@pytest.mark.timeout(180)
def test_aiohttp_serves_ten_thousand_requests(run, no_leaks):
    from aiohttp import web

    async def hello(request):
        return web.Response(text="hello")

    async def main():
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        statuses = await fetch_all(runner.addresses[0][1])
        await runner.cleanup()
        return statuses

    assert run(main()) == {b"HTTP/1.1 200 OK\r\n": REQUESTS}


@pytest.mark.timeout(180)
def test_aiohttp_client_makes_ten_thousand_requests(run, no_leaks):
    import aiohttp
    from aiohttp import web

    async def hello(request):
        return web.Response(text="hello")

    async def main():
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        bodies = 0

        async def client(session):
            nonlocal bodies
            for _ in range(REQUESTS // CLIENTS):
                async with session.get(f"http://127.0.0.1:{port}/") as response:
                    assert response.status == 200
                    assert await response.text() == "hello"
                    bodies += 1

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*[client(session) for _ in range(CLIENTS)])
        await runner.cleanup()
        return bodies

    assert run(main()) == REQUESTS


@pytest.mark.timeout(180)
def test_uvicorn_serves_ten_thousand_requests(run, no_leaks):
    import uvicorn

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    async def main():
        config = uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server._serve(sockets=[listening]))
        statuses = await fetch_all(listening.getsockname()[1])
        server.should_exit = True
        await serving
        listening.close()
        return statuses

    assert run(main()) == {b"HTTP/1.1 200 OK\r\n": REQUESTS}


def test_an_anyio_program_runs(run, no_leaks):
    anyio = pytest.importorskip("anyio")

    async def main():
        sent, received = anyio.create_memory_object_stream(10)
        got = []

        async def produce():
            async with sent:
                for i in range(REQUESTS):
                    await sent.send(i)

        async def consume():
            async with received:
                async for item in received:
                    got.append(item)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                group.start_soon(consume)
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(60)
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(lambda: 5) == 5
        return got

    assert run(main()) == list(range(REQUESTS))


@pytest.mark.timeout(120)
def test_five_thousand_idle_connections_are_held(run):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * 5_000 + 500
    if hard != resource.RLIM_INFINITY and hard < need:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            held.append(self)

        def data_received(self, data):
            self.transport.write(data)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=5_000)
        address = server.sockets[0].getsockname()
        clients = []
        for _ in range(5_000):
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, address)
            clients.append(client)
        while len(held) < 5_000:
            await asyncio.sleep(0)
        for client in (clients[0], clients[2_500], clients[-1]):
            await loop.sock_sendall(client, b"still there?")
            assert await loop.sock_recv(client, 100) == b"still there?"
        for client in clients:
            client.close()
        server.close()
        while any(not protocol.transport.is_closing() for protocol in held):
            await asyncio.sleep(0.01)

    held = []
    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_loops_leave_nothing(aio, run):
    async def work():
        await asyncio.sleep(0)
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(writer, b"x")
            assert await asyncio.get_running_loop().sock_recv(reader, 1) == b"x"

    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(gc.get_objects())

    for _ in range(20):
        run(work())
    descriptors, objects = count()
    for _ in range(1_000):
        run(work())
    after = count()
    assert after[0] == descriptors
    assert after[1] - objects < 500


@pytest.mark.timeout(180)
def test_many_connections_leave_nothing(run):
    """A tenth of the soak's hundred thousand, in rounds of a hundred."""
    async def main():
        loop = asyncio.get_running_loop()
        made = lost = 0

        class Greet(asyncio.Protocol):
            def connection_made(self, transport):
                nonlocal made
                made += 1
                transport.write(b"hello")
                transport.close()

            def connection_lost(self, error):
                nonlocal lost
                lost += 1

        server = await loop.create_server(Greet, "127.0.0.1", 0, backlog=CONNECTIONS)
        address = server.sockets[0].getsockname()

        async def visit():
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()

        async def count():
            await asyncio.sleep(0.01)
            gc.collect()
            return len(os.listdir("/proc/self/fd")), len(gc.get_objects())

        for _ in range(5):
            await asyncio.gather(*[visit() for _ in range(CONNECTIONS)])
        before = await count()
        for _ in range(100):
            await asyncio.gather(*[visit() for _ in range(CONNECTIONS)])
        after = await count()
        server.close()
        assert made == lost == 105 * CONNECTIONS
        return before, after

    before, after = run(main())
    assert after[0] == before[0]
    assert after[1] - before[1] < 500
