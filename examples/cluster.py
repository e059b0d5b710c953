"""One program, on the cores of this machine or on a cluster: only the pool is another one.

    python examples/cluster.py                          worker processes on this machine
    python examples/cluster.py dask                     a Dask cluster of two workers, started for this program
    python examples/cluster.py tcp://scheduler:8786     a Dask cluster that is there

Needs `pip install 'glassloop[cluster]'`; the first one only cloudpickle (`glassloop[offload]`), since the job's function is
in the program's own file.
"""

import asyncio
import contextlib
import sys
import time

import glassloop


def count_primes(start, end):
    """A job: CPU-bound, and it tells how far it is."""
    found = 0
    for number in range(start, end):
        if number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            found += 1
        if number % 10_000 == 0:
            glassloop.report_progress(number)
    return found


async def program(pool):
    """Knows nothing of where its jobs run."""
    end, step = 200_000, 20_000
    reports = []
    started = time.perf_counter()
    found = await asyncio.gather(
        *(
            pool.submit(count_primes, (start, start + step), on_progress=reports.append)
            for start in range(0, end, step)
        )
    )
    took = time.perf_counter() - started
    print(f"{sum(found)} primes below {end} in {took:.1f} s, {pool.limit} jobs at once, {len(reports)} reports of progress")
    try:
        await pool.run(count_primes, 0, "many")
    except TypeError as e:
        print(f"a job's exception comes to who waits for it: {type(e).__name__}: {e}")


@contextlib.asynccontextmanager
async def pool_on(where):
    if where == "here":
        async with glassloop.ProcessPool() as pool:
            yield pool
        return
    from distributed import Client, LocalCluster

    async with contextlib.AsyncExitStack() as stack:
        if where == "dask":
            where = await stack.enter_async_context(
                LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60, asynchronous=True)
            )
        client = await stack.enter_async_context(Client(where, asynchronous=True))
        yield await stack.enter_async_context(glassloop.DaskPool(client))


async def main(where="here"):
    async with pool_on(where) as pool:
        await program(pool)


if __name__ == "__main__":
    glassloop.run(main(*sys.argv[1:]))
