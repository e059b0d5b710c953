"""Which methods of a loop are coroutine functions, for those who look: unittest.mock replaces them by awaitable mocks."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import ModuleType
from typing import Any
from unittest import mock

METHODS = [
    name for name, method in inspect.getmembers(asyncio.SelectorEventLoop, inspect.isfunction)
    if inspect.iscoroutinefunction(method) and not name.startswith("_")
]


def looks_like_one(method: Any) -> bool:
    if sys.version_info < (3, 14) and asyncio.iscoroutinefunction(method):
        return True
    return inspect.iscoroutinefunction(method)


def test_methods_that_are_coroutine_functions_in_asyncio_look_like_it(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    try:
        assert "create_server" in METHODS and len(METHODS) > 20
        assert [name for name in METHODS if not looks_like_one(getattr(loop, name))] == []
        assert not looks_like_one(loop.call_soon)
    finally:
        loop.close()


def test_a_mock_with_the_spec_of_a_method_can_be_awaited(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        loop = aio.get_running_loop()
        with mock.patch.object(loop, "create_server", autospec=True, return_value="a server") as create_server:
            assert await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) == "a server"
        create_server.assert_awaited_once()

    run(main())
