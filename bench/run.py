#!/usr/bin/env python3
"""Compares event loops: CPU time per operation, in fresh processes, the loops in turn. See README.md.

python bench/run.py                                      every row, five rounds
python bench/run.py --quick                              three short rounds, without the corners
python bench/run.py --rows 'queue(1)' --loops uvloop,native --quick      one row in a few seconds
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import floors
import loops
import report
from load import client
from loops import Runtime
from measure import MeasurementFailed, NotAvailable, Sample, Settings, measure, probe
from rows import Row, load_all

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "268435456"}


class Bench:
    """A run: the samples, and what couldn't be measured and why."""

    def __init__(self, runtimes: list[Runtime], settings: Settings, rounds: int, base: str) -> None:
        self.runtimes = runtimes
        self.settings = settings
        self.rounds = rounds
        self.base = base
        self.samples: dict[tuple[str, str, str], list[Sample | None]] = {}
        self.failures: dict[tuple[str, str, str], str] = {}
        self.missing: dict[tuple[str, str, str], str] = {}
        self.complaints: dict[tuple[str, str, str], str] = {}

    def takes(self, row: Row, runtime: Runtime, explicit: bool) -> bool:
        """Whether this row is measured there. The interpreted one has scheduling rows only, unless asked."""
        if runtime.native and not row.native:
            return False
        return not runtime.interpreted or row.interpreted or explicit

    def measure_row(self, row: Row, variant: str, environment: dict[str, str], explicit: bool) -> None:
        keys = {r.key: (row.name, r.key, variant) for r in self.runtimes if self.takes(row, r, explicit)}
        for key in keys.values():
            self.samples[key] = []
        for number in range(self.rounds):
            settings = replace(self.settings, environment=tuple(environment.items()), seed=number)
            for runtime in self.runtimes:
                if runtime.key not in keys:
                    continue
                key = keys[runtime.key]
                sample = None
                if key not in self.failures and key not in self.missing:
                    try:
                        sample = measure(row, runtime, settings)
                    except NotAvailable as reason:
                        self.missing[key] = str(reason)
                    except MeasurementFailed as error:
                        self.failures[key] = str(error)
                    if sample and "stderr" in sample:
                        self.complaints.setdefault(key, sample["stderr"])
                self.samples[key].append(sample)

    def costs(self, row: str, loop: str, variant: str) -> list[float | None]:
        samples = self.samples.get((row, loop, variant), [])
        return [sample["value"] if sample else None for sample in samples]

    def cell(self, row: str, loop: str, variant: str) -> report.Cell:
        costs = self.costs(row, loop, variant)
        ratios = report.ratios(self.costs(row, self.base, variant), costs)
        key = (row, loop, variant)
        return report.Cell(costs, ratios, self.failures.get(key) or self.missing.get(key, ""))

    def line(self, row: Row, variant: str, width: int) -> str:
        cells = []
        for runtime in self.runtimes:
            key = (row.name, runtime.key, variant)
            cells.append(report.cell(self.cell(*key), row.unit, key in self.failures))
        return report.line(row, cells, width)

    def as_json(self, rows: list[Row], variants: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
        out = []
        for variant in variants:
            for row in rows:
                figures = {}
                for runtime in self.runtimes:
                    key = (row.name, runtime.key, variant)
                    if key not in self.samples:
                        continue
                    cell = self.cell(*key)
                    figures[runtime.key] = {
                        "median": cell.cost,
                        "spread": cell.spread,
                        "ratio": cell.ratio,
                        "ratios": cell.ratios,
                        "samples": self.samples[key],
                        **({"note": cell.note} if cell.note else {}),
                    }
                about = {"row": row.name, "theme": row.theme, "unit": row.unit, "variant": variant}
                out.append({**about, "loops": figures})
        return out


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add(
        "--rows",
        action="append",
        metavar="REGEX",
        help="rows with it in their name, literally or as a regex; repeatable",
    )
    add("--loops", metavar="A,B", help=f"of {', '.join(loops.RUNTIMES)}; glassloop@FOLDER is another build")
    add("--base", metavar="LOOP", help="what the ratios are to (uvloop)")
    add("--rounds", type=int, metavar="N", help="how often each loop is measured (5, with --quick 3)")
    add("--seconds", type=float, metavar="S", help="length of one measurement (0.5, with --quick 0.2)")
    add("--quick", action="store_true", help="fewer and shorter rounds, without the corners of the echo rows")
    add(
        "--compiled",
        type=Path,
        metavar="FOLDER",
        help="compiled glassloop (the build here, else the installed)",
    )
    add("--interpreted", type=Path, metavar="FOLDER", help="interpreted glassloop (src)")
    add(
        "--malloc",
        action="store_true",
        help="also with an allocator that keeps big blocks: " + " ".join(MALLOC),
    )
    add("--core", type=int, metavar="N", help="the core that everything runs on (the idlest one)")
    add("--no-pin", action="store_true", help="leave it to the system where what runs")
    add("--no-gc", action="store_true", help="without the garbage collector, on all loops")
    add(
        "--python-client",
        action="store_true",
        help="the load client in Python, even if there is a C compiler",
    )
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    add("--floors", action="store_true", help="check the floors; the exit code is 1 when one isn't held")
    add("--list", action="store_true", help="list the rows and the loops, and stop")
    return parser


def wanted(rows: dict[str, Row], patterns: list[str] | None, quick: bool) -> list[Row]:
    if not patterns:
        return [row for row in rows.values() if row.quick or not quick]

    def match(pattern: str) -> set[str]:
        """The row of that name, else those with it in their names, else those that the regex finds."""
        literal = {name for name in rows if name.lower() == pattern.lower()}
        literal = literal or {name for name in rows if pattern.lower() in name.lower()}
        return literal or {name for name in rows if re.search(pattern, name, re.IGNORECASE)}

    names = set().union(*map(match, patterns))
    return [row for row in rows.values() if row.name in names]


def list_rows(rows: list[Row]) -> None:
    for row in rows:
        extra = (
            ["native"] * row.native + ["interpreted"] * row.interpreted + ["not in --quick"] * (not row.quick)
        )
        bounds = [str(f) for f in floors.FLOORS if re.fullmatch(f.rows, row.name)]
        print(f"{row.theme:8} {row.name:44} {', '.join(extra):32} {'; '.join(bounds)}".rstrip())
    print("\nloops:", ", ".join(loops.RUNTIMES))


def available(runtimes: list[Runtime], settings: Settings, explicit: bool) -> dict[str, str]:
    """The version of each that can be imported; says which can't."""
    versions = {}
    for runtime in runtimes:
        try:
            versions[runtime.key] = probe(settings, runtime)
            print(f"{runtime.key}: {versions[runtime.key]}")
        except (NotAvailable, MeasurementFailed) as error:
            if explicit:
                raise SystemExit(f"{runtime.key} doesn't run here: {error}") from None
            print(f"*** {runtime.key} is left out: {str(error).splitlines()[-1]}")
    return versions


def idlest_core() -> int:
    def idle() -> dict[int, int]:
        lines = [
            line.split() for line in Path("/proc/stat").read_text().splitlines() if re.match(r"cpu\d", line)
        ]
        return {int(fields[0][3:]): int(fields[4]) for fields in lines}

    before = idle()
    time.sleep(0.3)
    after = idle()
    return max(os.sched_getaffinity(0), key=lambda core: after.get(core, 0) - before.get(core, 0))


def settle(core: int) -> None:
    """Puts this process and those it starts on one core, where none interrupts another; see README.md."""
    try:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        print(f"*** can't pin to core {core}: {error}")


def surroundings() -> dict[str, Any]:
    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "python": sys.version,
        "system": platform.platform(),
        "processor": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def print_floors(bench: Bench, rows: list[Row], asked: list[str]) -> tuple[list[dict[str, Any]], bool]:
    """The verdicts, and whether all floors between the loops asked for are held. No figure is a miss."""
    names = [row.name for row in rows]
    verdicts = floors.check(names, asked, lambda row, loop: bench.costs(row, loop, ""))
    good = True
    print("\nFloors")
    for verdict in verdicts:
        if verdict.reached is None:
            state = "not measured"
        else:
            state = "held" if verdict.held else "MISSED"
            state += " (rounds disagree)" if verdict.close else ""
        good = good and verdict.held
        reached = "" if verdict.reached is None else f"{verdict.reached:,.3f}"
        print(f"  {verdict.row:44} {verdict.floor!s:44} {reached:>9}  {state}")
    if not verdicts:
        print("  none for these rows")
    out = [
        {
            "row": v.row,
            "floor": str(v.floor),
            "reached": v.reached,
            "held": v.held,
            "rounds_disagree": v.close,
        }
        for v in verdicts
    ]
    return out, good


def print_notes(bench: Bench) -> bool:
    """What isn't a figure. Returns whether glassloop failed somewhere."""
    for title, notes in (
        ("Not available", bench.missing),
        ("FAILED", bench.failures),
        ("Said something on stderr while it was measured", bench.complaints),
    ):
        if not notes:
            continue
        print(f"\n{title}")
        rows_of: dict[str, list[str]] = {}
        for (row, loop, variant), text in notes.items():
            rows_of.setdefault(text, []).append(f"{row}, {loop}{' (malloc)' if variant else ''}")
        for text, rows in rows_of.items():
            print("".join(f"  {row}\n" for row in rows), end="")
            print("".join(f"      {line}\n" for line in text.splitlines()[-12:]), end="")
    ours = {runtime.key for runtime in bench.runtimes if runtime.module == "glassloop"}
    return any(loop in ours for _, loop, _ in bench.failures)


def main() -> int:
    options = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # ends the processes, as Ctrl-C does
    rows = wanted(load_all(), options.rows, options.quick)
    if not rows:
        raise SystemExit("no row has such a name; --list shows them")
    if options.list:
        list_rows(rows)
        return 0
    if not sys.platform.startswith("linux"):
        raise SystemExit("the benchmark reads other processes' CPU clocks and memory as Linux gives them")

    keys = options.loops.split(",") if options.loops else list(loops.DEFAULT)
    compiled = options.compiled.resolve() if options.compiled else loops.default_compiled()
    interpreted = (options.interpreted or loops.ROOT / "src").resolve()
    try:
        runtimes = loops.choose(keys, compiled, interpreted)
    except ValueError as error:
        if options.loops:
            raise SystemExit(str(error)) from None
        print(f"*** glassloop is left out: {error}")
        runtimes = loops.choose([key for key in keys if key in ("asyncio", "uvloop", "rloop")], None, None)
    if compiled and any(r.folder == str(compiled) for r in runtimes) and loops.stale(compiled):
        print(f"*** a source in src is newer than the build in {compiled}: run `make build`?")
    command, note = client(options.python_client)
    if note:
        print(f"*** {note}")
    if any(row.kind == "http" for row in rows) and not shutil.which("wrk"):
        print("*** wrk isn't installed, the rows of web servers are SKIPPED (on Debian: apt-get install wrk)")

    if not options.no_pin:
        settle(idlest_core() if options.core is None else options.core)

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(
            seconds=options.seconds or (0.2 if options.quick else 0.5),
            client=tuple(command),
            folder=folder,
            gc=not options.no_gc,
        )
        versions = available(runtimes, settings, bool(options.loops))
        runtimes = [runtime for runtime in runtimes if runtime.key in versions]
        if not versions:
            raise SystemExit("there is no loop to measure")
        base = options.base or ("uvloop" if "uvloop" in versions else next(iter(versions)))
        if base not in versions:
            raise SystemExit(f"the base {base!r} isn't among the loops")
        bench = Bench(runtimes, settings, options.rounds or (3 if options.quick else 5), base)
        return run(bench, rows, options, versions)


def run(bench: Bench, rows: list[Row], options: argparse.Namespace, versions: dict[str, str]) -> int:
    variants = {"": {}, **({"malloc": MALLOC} if options.malloc else {})}
    width = max(len(row.name) for row in rows)
    begun = time.monotonic()
    keys = [runtime.key for runtime in bench.runtimes]
    print(f"\nCPU time per operation, ratio to {bench.base} (more is better), spread over the rounds")
    for variant, environment in variants.items():
        print()
        if variant:
            print("with " + " ".join(f"{key}={value}" for key, value in environment.items()))
        print(report.header(keys, width))
        for row in rows:
            bench.measure_row(row, variant, environment, bool(options.loops))
            print(bench.line(row, variant, width), flush=True)

    failed = print_notes(bench)
    asked = options.loops.split(",") if options.loops else list(loops.DEFAULT)
    verdicts, held = print_floors(bench, rows, asked) if options.floors else ([], True)
    took = time.monotonic() - begun
    print(f"\n{len(rows)} rows in {took:.0f} s, {bench.rounds} rounds of {bench.settings.seconds} s")
    if options.json:
        what = {
            **surroundings(),
            "base": bench.base,
            "rounds": bench.rounds,
            "seconds": bench.settings.seconds,
            "gc": bench.settings.gc,
            "versions": versions,
            "rows": bench.as_json(rows, variants),
            "floors": verdicts,
        }
        options.json.write_text(json.dumps(what, indent=1) + "\n")
    return 1 if failed or not held else 0


if __name__ == "__main__":
    sys.exit(main())
