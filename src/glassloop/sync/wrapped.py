"""An awaitable as a coroutine. Not compiled: Task.get_coro() shows it, and who looks expects the interpreter's own type."""
from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar('T')


async def awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
