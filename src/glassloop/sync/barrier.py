"""Barrier: a number of tasks wait for each other, then go on together. asyncio's semantics, on our Condition.

    FILLING ---- the last of the parties comes ----> DRAINING ---- the last of them has left ----> FILLING
    FILLING, DRAINING ---- reset() while some wait ----> RESETTING ---- the last of them has left ----> FILLING
    any ---- abort() ----> BROKEN ---- reset() ----> RESETTING while some wait, else FILLING

Each passage costs several turns of the loop, so the methods are coroutines, written as one reads them.
"""
from __future__ import annotations

import asyncio
import enum
from types import TracebackType

from .locks import Condition

__all__ = ('Barrier',)


class _State(enum.Enum):
    FILLING = 'filling'
    DRAINING = 'draining'
    RESETTING = 'resetting'
    BROKEN = 'broken'


class Barrier(asyncio.Barrier):
    """A point that `parties` tasks pass together. See asyncio.Barrier. Raises ValueError if parties is below 1."""

    def __init__(self, parties: int) -> None:
        if parties < 1:
            raise ValueError('parties must be > 0')
        self._cond = Condition()
        self._parties = parties
        self._state = _State.FILLING
        self._count = 0

    def __repr__(self) -> str:
        extra = self._state.value
        if not self.broken:
            extra += f', waiters:{self.n_waiting}/{self.parties}'
        return f'<{object.__repr__(self).strip("<>")} [{extra}]>'

    async def __aenter__(self) -> int:
        return await self.wait()

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        tb: TracebackType | None) -> None:
        return None

    async def wait(self) -> int:
        """Wait until all parties wait; returns a number from 0 to parties - 1, different in each of them. Raises
        BrokenBarrierError if the barrier is or gets broken, or is reset meanwhile."""
        async with self._cond:
            await self._cond.wait_for(self._lets_in)
            if self._state is _State.BROKEN:
                raise asyncio.BrokenBarrierError('Barrier aborted')
            index = self._count
            self._count += 1
            try:
                if index + 1 == self._parties:
                    self._state = _State.DRAINING
                    self._cond.notify_all()
                else:
                    await self._cond.wait_for(self._is_settled)
                    if self._state is not _State.DRAINING:
                        raise asyncio.BrokenBarrierError('Abort or reset of barrier')
                return index
            finally:
                self._count -= 1
                if self._count == 0:
                    if self._state in (_State.RESETTING, _State.DRAINING):
                        self._state = _State.FILLING
                    self._cond.notify_all()

    def _lets_in(self) -> bool:
        return self._state not in (_State.DRAINING, _State.RESETTING)

    def _is_settled(self) -> bool:
        return self._state is not _State.FILLING

    async def reset(self) -> None:
        """Back to the start. Those who wait get BrokenBarrierError."""
        async with self._cond:
            self._state = _State.RESETTING if self._count > 0 else _State.FILLING
            self._cond.notify_all()

    async def abort(self) -> None:
        """Break it: those who wait, and those who will, get BrokenBarrierError until reset()."""
        async with self._cond:
            self._state = _State.BROKEN
            self._cond.notify_all()

    @property
    def parties(self) -> int:
        """How many tasks it takes."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many tasks wait for the others to come."""
        return self._count if self._state is _State.FILLING else 0

    @property
    def broken(self) -> bool:
        """True after abort(), until reset()."""
        return self._state is _State.BROKEN
