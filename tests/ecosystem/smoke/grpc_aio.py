"""grpc.aio: a server and a channel on one loop, the four kinds of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from loop_check import check_loop


async def unary(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(0.001)
    return request.upper()


async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        await asyncio.sleep(0)
        yield str(number).encode()


async def total(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return str(sum([int(request) async for request in requests])).encode()


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def fail(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")
    raise AssertionError


async def main() -> None:
    name = check_loop()
    handlers = {
        "unary": grpc.unary_unary_rpc_method_handler(unary),
        "count": grpc.unary_stream_rpc_method_handler(count),
        "total": grpc.stream_unary_rpc_method_handler(total),
        "echo": grpc.stream_stream_rpc_method_handler(echo),
        "fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("smoke", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def numbers() -> AsyncIterator[bytes]:
        for number in range(50):
            yield str(number).encode()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/smoke/unary")
        answers = await asyncio.gather(*[call(f"word {number}".encode()) for number in range(100)])
        assert answers == [f"WORD {number}".encode() for number in range(100)], answers[:3]
        assert [int(item) async for item in channel.unary_stream("/smoke/count")(b"50")] == list(range(50))
        assert await channel.stream_unary("/smoke/total")(numbers()) == b"1225"
        assert [int(item) async for item in channel.stream_stream("/smoke/echo")(numbers())] == list(range(50))
        try:
            await channel.unary_unary("/smoke/fail")(b"")
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
        else:
            raise AssertionError("the aborted call did not fail")
    await server.stop(1)
    print(f"grpc.aio {grpc.__version__} on {name}: unary, server streaming, client streaming, both, abort")


asyncio.run(main())
