"""Coroutines around what is to be run. Not compiled: Task.get_coro() shows them, and who looks expects the interpreter's
own type."""
from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar('T')


async def awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def begun_after(awaitable: Awaitable[Any], coro: Coroutine[Any, Any, T]) -> T:
    """The coroutine, begun once the awaitable is done."""
    await awaitable
    return await coro
