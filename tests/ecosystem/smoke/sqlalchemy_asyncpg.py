"""SQLAlchemy's asyncio side on asyncpg: engine and pool, sessions, streaming, a rolled back transaction."""

from __future__ import annotations

import asyncio
import os

import sqlalchemy
from loop_check import check_loop
from sqlalchemy import String, func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "smoke_things"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


async def main() -> None:
    name = check_loop()
    host, port, user = os.environ["PGHOST"], os.environ["PGPORT"], os.environ["PGUSER"]
    engine = create_async_engine(f"postgresql+asyncpg://{user}@{host}:{port}/postgres", pool_size=5)
    session_of = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)

    async def add(first: int) -> None:
        async with session_of() as session, session.begin():
            session.add_all([Thing(id=number, name=f"thing {number}") for number in range(first, first + 50)])

    await asyncio.gather(*[add(first) for first in range(0, 1000, 50)])
    async with session_of() as session:
        assert (await session.execute(select(func.count(Thing.id), func.sum(Thing.id)))).one() == (1000, 499500)
        streamed = await session.stream_scalars(select(Thing.name).order_by(Thing.id))
        assert [row async for row in streamed] == [f"thing {number}" for number in range(1000)]
    try:
        async with session_of() as session, session.begin():
            session.add(Thing(id=5000, name="never"))
            await session.flush()
            raise KeyError("roll back")
    except KeyError:
        pass
    async with session_of() as session:
        assert await session.get(Thing, 5000) is None
    await engine.dispose()
    print(f"SQLAlchemy {sqlalchemy.__version__} with asyncpg on {name}: 20 sessions at once, streaming, roll back")


asyncio.run(main())
