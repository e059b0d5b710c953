"""A crawler: many pages, so many at a time.

It starts a small web site of its own, whose pages link to one another and take 20 ms each, and follows the links:
first one page after the other, then with `amap`, which has up to LIMIT pages under way and asks for the next link only
when there is room. Which pages there are is found out on the way: the source of `amap` is an asynchronous generator that
ends when no link is left to follow.

Then it shows what becomes of the rest when the loop is left, and when a page fails.

    python examples/crawl.py [PAGES [LIMIT]] [--progress]
"""

import asyncio
import contextlib
import re
import sys
import time

import glassloop


class Site:
    """The server: page n links to pages 2n + 1 and 2n + 2, and back to the first."""

    def __init__(self, pages):
        self.pages = pages
        self.open = self.most = self.served = 0

    async def answer(self, reader, writer):
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            number = int(request.split()[1][1:])
            await asyncio.sleep(0.02)
            status = "200 OK" if number < self.pages else "404 Not Found"
            body = "".join(f'<a href="/{link}">' for link in (0, 2 * number + 1, 2 * number + 2) if link < self.pages)
            writer.write(f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
            self.served += 1
        except asyncio.IncompleteReadError:
            pass  # the client has gone
        finally:
            self.open -= 1
            writer.close()


class Crawler:
    def __init__(self, port, first=0):
        self.port = port
        self.found = {first}
        self.to_visit = asyncio.Queue()
        self.to_visit.put_nowait(first)
        self.visited = 0
        self.running = 0  # fetches under way

    async def fetch(self, number):
        """The links on a page."""
        self.running += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            with contextlib.closing(writer):
                writer.write(f"GET /{number} HTTP/1.0\r\n\r\n".encode())
                head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            self.running -= 1
        if " 200 " not in head.splitlines()[0]:
            raise LookupError(f"page {number}: {head.splitlines()[0]}")
        return [int(link) for link in re.findall(r'href="/(\d+)"', body)]

    async def links(self):
        """Each page once, until all that were found are visited."""
        while (number := await self.to_visit.get()) is not None:
            yield number

    def note(self, links):
        self.visited += 1
        for link in links:
            if link not in self.found:
                self.found.add(link)
                self.to_visit.put_nowait(link)
        if self.visited == len(self.found):
            self.to_visit.put_nowait(None)


async def one_by_one(site, port):
    crawler = Crawler(port)
    start = time.perf_counter()
    async for number in crawler.links():
        crawler.note(await crawler.fetch(number))
    took = time.perf_counter() - start
    print(f"one by one: {crawler.visited} pages in {took * 1e3:.0f} ms, {site.most} at once")


async def many_at_once(site, port, limit, progress):
    crawler = Crawler(port)
    start = time.perf_counter()
    async for links in glassloop.amap(crawler.fetch, crawler.links(), limit=limit, ordered=False, progress=progress):
        crawler.note(links)
    took = time.perf_counter() - start
    print(f"amap, limit={limit}: {crawler.visited} pages in {took * 1e3:.0f} ms, never more than {site.most} at once")


async def leaving_early(port, limit):
    crawler = Crawler(port)
    async with glassloop.amap(crawler.fetch, range(1_000_000), limit=limit) as results:
        async for links in results:
            print(f"a million to go, and left after the first, which has {len(links)} links", end="; ")
            break
    print(f"still under way: {crawler.running}")


async def a_page_that_fails(site, port, limit):
    crawler = Crawler(port)
    numbers = [*range(5), site.pages, *range(5, 50)]  # one of which there isn't
    done = 0
    try:
        async for _ in glassloop.amap(crawler.fetch, numbers, limit=limit):
            done += 1
    except LookupError as error:
        print(f"{done} pages, then {error!r}; still under way: {crawler.running}")


async def main(pages=60, limit=10, progress=False):
    site = Site(pages)
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await one_by_one(site, port)
    await many_at_once(site, port, limit, progress)
    await leaving_early(port, limit)
    await a_page_that_fails(site, port, limit)
    server.close()
    while site.open:  # those whose clients have gone
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    glassloop.run(main(*numbers[:2], progress="--progress" in sys.argv))
