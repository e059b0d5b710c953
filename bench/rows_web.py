"""Web servers as people run them, under wrk."""

from __future__ import annotations

from socket import socket
from typing import Any

from rows import BACKLOG, Row, Unavailable, add

TEXT = b"Hello, world!"


async def uvicorn_server(aio: Any, listener: socket) -> Any:
    try:
        import httptools  # noqa: F401  (uvicorn would fall back to another parser without it)
        import uvicorn
    except ImportError as error:
        raise Unavailable(f"{error.name} isn't installed") from None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"content-type", b"text/plain"), (b"content-length", str(len(TEXT)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": TEXT})

    config = uvicorn.Config(app, http="httptools", lifespan="off", log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    listener.listen(BACKLOG)
    return aio.get_running_loop().create_task(server.serve(sockets=[listener]))


async def aiohttp_server(aio: Any, listener: socket) -> Any:
    try:
        from aiohttp import web
    except ImportError as error:
        raise Unavailable(f"{error.name} isn't installed") from None

    async def hello(request: Any) -> Any:
        return web.Response(body=TEXT, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    return runner


add(Row("uvicorn", "http", uvicorn_server, native=False))
add(Row("aiohttp server", "http", aiohttp_server, native=False))
