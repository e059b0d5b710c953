"""dask.distributed: a cluster in this process, and an asynchronous client."""

from __future__ import annotations

import asyncio

import distributed
from distributed import Client, LocalCluster
from loop_check import check_loop


def square(number: int) -> int:
    return number * number


async def main() -> None:
    name = check_loop()
    async with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address=None, protocol="tcp",
        host="127.0.0.1",
    ) as cluster:
        async with Client(cluster, asynchronous=True) as client:
            squares = client.map(square, range(200))
            assert await client.submit(sum, squares) == sum(number * number for number in range(200))
            broken = client.submit(lambda: 1 / 0)
            try:
                await broken
            except ZeroDivisionError:
                pass
            else:
                raise AssertionError("the failing task did not fail")
            assert len((await client.scheduler.identity())["workers"]) == 2
    print(f"dask.distributed {distributed.__version__} on {name}: two workers, 200 tasks, a failing one")


if __name__ == "__main__":
    asyncio.run(main())
