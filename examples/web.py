"""A web server and its clients, with aiohttp: a real framework, unchanged.

The server answers with JSON; the clients, in the same process, ask it over real sockets with keep-alive
connections, and check each answer. At the end stands what a request cost. examples/compare.py runs this very
program on asyncio and on glassloop.

    python examples/web.py [REQUESTS [CLIENTS]]
    glassloop run examples/web.py [REQUESTS [CLIENTS]]
"""

import asyncio
import sys
import time

from aiohttp import ClientSession, TCPConnector, web

STOCK = {"apples": 12, "pears": 7, "plums": 31}


async def show(request):
    name = request.match_info["name"]
    if name not in STOCK:
        raise web.HTTPNotFound(text=f"no {name}")
    return web.json_response({"name": name, "count": STOCK[name]})


async def order(request):
    """Takes JSON in, and is a little slow, as with a database behind it."""
    wanted = await request.json()
    await asyncio.sleep(0.001)
    return web.json_response({"ordered": wanted, "left": STOCK[wanted["name"]] - wanted["count"]})


async def client(session, base, requests):
    """Every tenth request is an order, and every fiftieth asks for what is not there."""
    names = list(STOCK)
    for number in range(requests):
        name = names[number % len(names)]
        if number % 10 == 9:
            async with session.post(f"{base}/orders", json={"name": name, "count": 2}) as response:
                assert (await response.json())["left"] == STOCK[name] - 2
        elif number % 50 == 25:
            async with session.get(f"{base}/stock/melons") as response:
                assert response.status == 404 and await response.text() == "no melons"
        else:
            async with session.get(f"{base}/stock/{name}") as response:
                assert await response.json() == {"name": name, "count": STOCK[name]}


async def main(requests=2_000, clients=50):
    app = web.Application()
    app.add_routes([web.get("/stock/{name}", show), web.post("/orders", order)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    base = f"http://{host}:{port}"

    loop = type(asyncio.get_running_loop())
    print(f"aiohttp on {loop.__module__}.{loop.__name__}: {clients} clients at {base}")
    each = max(1, requests // clients)
    async with ClientSession(connector=TCPConnector(limit=clients)) as session:
        await client(session, base, 50)  # warm up
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client(session, base, each) for _ in range(clients)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await runner.cleanup()
    done = each * clients
    rate, cost = done / wall, cpu / done * 1e6
    print(f"{done} requests in {wall:.2f} s: {rate:.0f} requests/s, {cost:.1f} us of CPU time each")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:3])))
