"""What the same program costs on asyncio and on glassloop.

Runs web.py, unmodified, several times on each, every time in a fresh process, taking turns so that a busy
moment of the machine hits both. Shown are the medians, and the range of all rounds in brackets. CPU time,
user and system together, is the steadier figure; it covers the server and its clients, and all of aiohttp,
which is the same on both sides.

    python examples/compare.py [ROUNDS [REQUESTS]]
"""

import re
import statistics
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("web.py")
RUNTIMES = {
    "asyncio": [sys.executable, str(PROGRAM)],
    "glassloop": [sys.executable, "-m", "glassloop", "run", str(PROGRAM)],
}
FIGURES = re.compile(r"aiohttp on (\S+):.*: (\d+) requests/s, ([\d.]+) us of CPU time each$", re.DOTALL)


def measure(runtime, requests):
    """One run in a fresh process: (requests a second, CPU microseconds per request)."""
    done = subprocess.run([*RUNTIMES[runtime], str(requests)], stdout=subprocess.PIPE, text=True, timeout=300)
    found = FIGURES.search(done.stdout.rstrip())
    if done.returncode or found is None:
        sys.exit(f"{PROGRAM.name} on {runtime} failed, exit code {done.returncode}:\n{done.stdout}")
    loop, rate, cpu = found.groups()
    if not loop.startswith(f"{runtime}."):
        sys.exit(f"{PROGRAM.name} was to run on {runtime}, but ran on {loop}")
    return float(rate), float(cpu)


def spread(values, digits):
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def main(rounds=5, requests=5_000):
    print(f"{PROGRAM.name}: {requests} requests by 50 clients, {rounds} rounds on each", flush=True)
    taken = {runtime: [] for runtime in RUNTIMES}
    for number in range(rounds):
        for runtime in sorted(RUNTIMES, reverse=number % 2 == 1):
            taken[runtime].append(measure(runtime, requests))
    rates = {runtime: [rate for rate, _ in runs] for runtime, runs in taken.items()}
    cpus = {runtime: [cpu for _, cpu in runs] for runtime, runs in taken.items()}

    print(f"\n{'':12}{'CPU us per request':>28}{'requests/s':>32}")
    for runtime in RUNTIMES:
        print(f"{runtime:12}{spread(cpus[runtime], 1):>28}{spread(rates[runtime], 0):>32}")
    median = {runtime: statistics.median(cpus[runtime]) for runtime in RUNTIMES}
    rate = {runtime: statistics.median(rates[runtime]) for runtime in RUNTIMES}
    less_cpu = median["asyncio"] / median["glassloop"]
    faster = rate["glassloop"] / rate["asyncio"]
    print(f"{'ratio':12}{f'{less_cpu:.2f}x':>28}{f'{faster:.2f}x':>32}   (above 1: glassloop is better)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
