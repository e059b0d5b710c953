"""amap(progress=True): a bar on a terminal, which is gone at the end however that comes; elsewhere not a byte."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import textwrap
import threading

import pytest

import glassloop

PROGRAM = """
import asyncio
import sys
import glassloop
from glassloop import amap

async def fetch(n):
    await asyncio.sleep(0.02)
    return n
"""


class Screen:
    """What a terminal shows after what was written to it: of its language the little that a bar speaks."""

    CONTROL = re.compile(r"\x1b\[(\??)([0-9;]*)([a-zA-Z])")

    def __init__(self, text: str) -> None:
        self.lines = [""]
        self.row = self.column = 0
        self.cursor_is_shown = True
        self.seen: list[str] = []  # the screens as they were when the cursor went up, or at the end
        while text:
            if found := self.CONTROL.match(text):
                text = text[found.end() :]
                self.control(*found.groups())
            else:
                self.put(text[0])
                text = text[1:]
        self.note()

    def note(self) -> None:
        self.seen.append("\n".join(self.lines).rstrip())

    def put(self, character: str) -> None:
        if character == "\r":
            self.note()
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def control(self, private: str, number: str, command: str) -> None:
        if private:
            if number == "25":
                self.cursor_is_shown = command == "h"
        elif command == "A":
            self.row = max(0, self.row - int(number or 1))
        elif command == "K":
            assert number == "2"
            self.lines[self.row] = ""
        else:
            assert command == "m", f"a terminal is told {command!r}, which the test does not know"


def on_a_terminal(program: str, *, stdout_too: bool = False, code: int = 0) -> tuple[Screen, str]:
    """Run it with stderr on a terminal; what that shows, and what was written to stdout if that is a pipe."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "25"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program)],
        stdin=subprocess.DEVNULL, stdout=theirs if stdout_too else subprocess.PIPE, stderr=theirs, env=environment,
    ) as child:
        os.close(theirs)
        written = b""

        def read() -> None:
            nonlocal written
            try:
                while data := os.read(ours, 65536):
                    written += data
            except OSError:  # the last one that had it open is gone
                return

        reader = threading.Thread(target=read)
        reader.start()
        out = "" if child.stdout is None else child.stdout.read().decode()
        child.wait(timeout=50)
        reader.join(timeout=50)
    os.close(ours)
    text = written.decode()
    assert child.returncode == code, text
    return Screen(text), out


def test_on_a_terminal_it_is_drawn_and_removed() -> None:
    screen, out = on_a_terminal("""
    async def main():
        async for n in amap(fetch, range(60), limit=4, progress=True):
            print(n)

    glassloop.run(main())
    """)
    assert out.split() == [str(n) for n in range(60)]
    assert any("fetch" in shown and "/60" in shown for shown in screen.seen)
    counts = [int(found[1]) for shown in screen.seen if (found := re.search(r"(\d+)/60", shown))]
    assert counts == sorted(counts)
    assert len(set(counts)) >= 2
    assert screen.seen[-1] == ""
    assert screen.cursor_is_shown


def test_of_unknown_length() -> None:
    screen, _ = on_a_terminal("""
    async def items():
        for n in range(30):
            yield n

    async def main():
        async for n in amap(fetch, items(), limit=2, progress=True):
            pass

    glassloop.run(main())
    """)
    assert any("fetch" in shown and "/?" in shown for shown in screen.seen)
    assert screen.seen[-1] == ""
    assert screen.cursor_is_shown


@pytest.mark.parametrize("end", ["break", "raise KeyError", "asyncio.current_task().cancel()", "sys.exit()"])
def test_is_removed_however_the_iteration_ends(end: str) -> None:
    screen, out = on_a_terminal(f"""
    async def main():
        try:
            async for n in amap(fetch, range(1000), limit=4, progress=True):
                if n == 30:
                    {end}
        except (KeyError, asyncio.CancelledError, SystemExit) as error:
            print(type(error).__name__)
        await asyncio.sleep(0.1)

    glassloop.run(main())
    """)
    assert out == {"b": "", "r": "KeyError\n", "a": "CancelledError\n", "s": "SystemExit\n"}[end[0]]
    assert any("fetch" in shown for shown in screen.seen)
    assert screen.seen[-1] == ""
    assert screen.cursor_is_shown


def test_is_removed_when_a_call_fails() -> None:
    screen, out = on_a_terminal("""
    async def fail(n):
        await fetch(n)
        if n == 30:
            raise KeyError(n)

    async def main():
        try:
            async for n in amap(fail, range(1000), limit=4, progress=True):
                pass
        except KeyError as error:
            print(error)

    glassloop.run(main())
    """)
    assert out == "30\n"
    assert any("fail" in shown for shown in screen.seen)
    assert screen.seen[-1] == ""
    assert screen.cursor_is_shown


def test_the_cursor_comes_back_though_the_loop_does_not_end() -> None:
    screen, _ = on_a_terminal("""
    async def main():
        async for n in amap(fetch, range(1000), limit=4, progress=True):
            if n == 30:
                asyncio.get_running_loop().stop()

    loop = glassloop.new_event_loop()
    task = loop.create_task(main())
    loop.run_forever()
    """)
    assert any("fetch" in shown for shown in screen.seen)
    assert screen.cursor_is_shown


def test_what_is_printed_appears_above_it() -> None:
    screen, _ = on_a_terminal(
        """
        async def main():
            async for n in amap(fetch, range(40), limit=4, progress=True):
                if n % 10 == 0:
                    print("got", n)
                    print("seen", n, file=sys.stderr)

        glassloop.run(main())
        """,
        stdout_too=True,
    )
    assert screen.seen[-1].split("\n") == [f"{word} {n}" for n in (0, 10, 20, 30) for word in ("got", "seen")]
    assert any("fetch" in shown and "got 10" in shown for shown in screen.seen)
    assert screen.cursor_is_shown


def test_two_at_once_also_in_two_threads() -> None:
    screen, _ = on_a_terminal("""
    import threading

    all_begun = threading.Barrier(2)

    async def one():
        async for n in amap(fetch, range(20), limit=4, progress=True):
            if n == 0:
                all_begun.wait(30)

    async def parse(n):
        return n

    async def two():
        async for n in amap(parse, amap(fetch, range(20), limit=2, progress=True), limit=4, progress=True):
            if n == 0:
                all_begun.wait(30)

    thread = threading.Thread(target=glassloop.run, args=(one(),))
    thread.start()
    glassloop.run(two())
    thread.join()
    """)
    assert any(shown.count("fetch") == 2 and "parse" in shown for shown in screen.seen)
    assert screen.seen[-1] == ""
    assert screen.cursor_is_shown


def test_elsewhere_not_a_byte_is_written_and_rich_is_not_loaded(python) -> None:
    done = python(
        "-c",
        PROGRAM
        + textwrap.dedent("""
        async def main():
            return [n async for n in amap(fetch, range(5), limit=4, progress=True)]

        print(glassloop.run(main()), "rich" in sys.modules)
        """),
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4] False\n", "")


def test_without_rich_it_says_what_to_install(monkeypatch) -> None:
    async def work(n):
        return n

    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"glassloop\[cli\]"):
        glassloop.amap(work, [], limit=1, progress=True)
    glassloop.amap(work, [], limit=1)


def test_is_drawn_ten_times_a_second_however_much_ends() -> None:
    screen, out = on_a_terminal("""
    import time
    from rich.progress import Progress

    drawn = 0
    refresh = Progress.refresh

    def counted(self):
        global drawn
        drawn += 1
        refresh(self)

    Progress.refresh = counted

    async def quick(n):
        return n

    async def main():
        began = time.monotonic()
        async for n in amap(quick, range(20_000), limit=100, progress=True):
            pass
        print(time.monotonic() - began, drawn)

    glassloop.run(main())
    """)
    took, drawn = map(float, out.split())
    assert drawn <= took * 10 + 5
    assert screen.seen[-1] == ""
