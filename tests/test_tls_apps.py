"""Real applications over TLS, unmodified: aiohttp's server and client, uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
from typing import Any

import pytest
from peers import LIMIT
from tls_peer import CERTS, client_context, server_context

BODY = random.Random(5).randbytes(1_500_000)


@contextlib.asynccontextmanager
async def aiohttp_site(*routes: tuple[str, str, Any]) -> Any:
    """The URL of an https server with these routes."""
    from aiohttp import web

    app = web.Application(client_max_size=1 << 30)
    for method, path, handler in routes:
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context()).start()
    try:
        yield f"https://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context()))


def test_aiohttp_serves_and_asks_over_https(run: Any) -> None:
    from aiohttp import web

    async def hello(request: Any) -> Any:
        return web.Response(text=f"hello {request.secure}")

    async def echo(request: Any) -> Any:
        return web.Response(body=await request.read())

    async def main() -> None:
        async with aiohttp_site(("GET", "/", hello), ("POST", "/", echo)) as url, session() as client:

            async def ask() -> None:
                for _ in range(20):
                    async with client.get(url) as response:
                        assert await response.text() == "hello True"

            await asyncio.gather(*(ask() for _ in range(10)))
            async with client.post(url, data=BODY) as response:
                assert hashlib.sha256(await response.read()).digest() == hashlib.sha256(BODY).digest()

    run(main())


def test_aiohttp_speaks_websockets_over_tls(run: Any) -> None:
    from aiohttp import web

    async def echo(request: Any) -> Any:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_bytes(message.data)
        return ws

    async def main() -> None:
        async with aiohttp_site(("GET", "/", echo)) as url, session() as client, client.ws_connect(url) as ws:
            for size in (1, 1000, 100_000):
                await ws.send_bytes(BODY[:size])
                assert await ws.receive_bytes() == BODY[:size]

    run(main())


def test_a_download_that_is_given_up_ends_soon(run: Any) -> None:
    from aiohttp import web

    gone: list[asyncio.Event] = []

    async def endless(request: Any) -> Any:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(BODY)
        finally:
            gone[0].set()

    async def main() -> None:
        gone.append(asyncio.Event())
        async with aiohttp_site(("GET", "/", endless)) as url:
            async with session() as client, client.get(url) as response:
                await response.content.readexactly(100_000)
            async with asyncio.timeout(LIMIT):
                await gone[0].wait()

    run(main())


def test_uvicorn_serves_over_https(run: Any) -> None:
    uvicorn = pytest.importorskip("uvicorn")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http" and scope["scheme"] == "https"
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body or b"hello"})

    async def main() -> None:
        config = uvicorn.Config(app, lifespan="off", log_level="error", ssl_certfile=str(CERTS / "server.pem"))
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listener]))
        url = f"https://localhost:{listener.getsockname()[1]}"
        async with session() as client:
            for _ in range(50):
                async with client.get(url) as response:
                    assert await response.text() == "hello"
            async with client.post(url, data=BODY) as response:
                assert await response.read() == BODY
        server.should_exit = True
        async with asyncio.timeout(LIMIT):
            await serving

    run(main())
