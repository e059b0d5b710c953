"""psycopg's asynchronous connections and cursors: queries, COPY, pipeline mode, notifications, cancellation."""

from __future__ import annotations

import asyncio

import psycopg
from loop_check import check_loop


async def main() -> None:
    name = check_loop()
    async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
        async with connection.cursor() as cursor:
            await cursor.execute("create temporary table things (id int primary key, name text)")
            async with cursor.copy("copy things from stdin") as copy:
                for number in range(1000):
                    await copy.write_row((number, f"thing {number}"))
            await cursor.execute("select count(*), sum(id) from things")
            assert await cursor.fetchone() == (1000, 499500)
            async with connection.pipeline():
                for number in range(1000, 1100):
                    await cursor.execute("insert into things values (%s, %s)", (number, "piped"))
            await cursor.execute("select count(*) from things where name = 'piped'")
            assert await cursor.fetchone() == (100,)

        try:
            await asyncio.wait_for(connection.execute("select pg_sleep(30)"), 0.2)
        except TimeoutError:
            pass
        else:
            raise AssertionError("the sleeping query was not cancelled")
        assert await (await connection.execute("select 1")).fetchone() == (1,)

        await connection.execute("listen smoke")
        async with await psycopg.AsyncConnection.connect(autocommit=True) as other:
            await other.execute("notify smoke, 'signal'")
            async for notice in connection.notifies(timeout=10, stop_after=1):
                assert notice.payload == "signal"

    async def one(number: int) -> int:
        async with await psycopg.AsyncConnection.connect() as mine:
            row = await (await mine.execute("select %s::int * 2", (number,))).fetchone()
            assert row is not None
            return int(row[0])

    assert await asyncio.gather(*map(one, range(20))) == [number * 2 for number in range(20)]
    print(f"psycopg {psycopg.__version__} on {name}: queries, COPY, pipeline, cancellation, notifications, 20 connections")


asyncio.run(main())
