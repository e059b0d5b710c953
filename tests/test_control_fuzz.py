"""What comes in over the control socket and is no request, or comes slowly, or from too many: it does no harm."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import functools
import itertools
import json
import os
import random
import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outside import (
    HERE,
    Loop,
    ask_raw,
    call_request,
    eventually,
    forever,
    glass,
    listed,
    tasks_of,
)

import glassloop
from glassloop.control import client, frames, process, server

pytest_plugins = ("outside_fixtures",)
pytestmark = pytest.mark.usefixtures("private")


class TestWhatIsNoRequest:
    PS = {"glassloop": 1, "do": "ps"}

    @pytest.mark.parametrize(
        ("request_", "why"),
        [
            ({}, "protocol 1 is spoken here, not None"),
            ({"glassloop": 2, "do": "ps"}, "protocol 1 is spoken here, not 2"),
            ({"glassloop": True, "do": "ps"}, "protocol 1 is spoken here, not True"),
            ({"glassloop": 1}, "no request 'None'"),
            ({"glassloop": 1, "do": ["ps"]}, "no request"),
            ({"glassloop": 1, "do": "__init__"}, "no request '__init__'"),
            ({**PS, "more": 1}, "ps has the fields none"),
            ({"glassloop": 1, "do": "tree"}, "tree has the fields loop, stacks"),
            ({"glassloop": 1, "do": "tree", "loop": "1", "stacks": True}, "loop of tree is of the wrong type"),
            ({"glassloop": 1, "do": "tree", "loop": True, "stacks": True}, "loop of tree is of the wrong type"),
            ({"glassloop": 1, "do": "cancel", "loop": None, "task": 1}, "task of cancel is of the wrong type"),
            ({**call_request("f"), "args": {}}, "args of call is of the wrong type"),
            ({**call_request("f"), "wait": 1}, "wait of call is of the wrong type"),
            (b"\xff\xff\xff\xff", "a frame of 4,294,967,295 bytes; at most 1,048,576 are taken"),
            (b"\0\0\0\0", "no JSON"),
            (b"\0\0\0\2[]", "no JSON object"),
            (b"\0\0\0\4null", "no JSON object"),
            (b"\0\0\0\2\xff\xfe", "no JSON: 'utf-8' codec"),
            (b"\0\0\0\x0b{\"a\": NaN} ", "NaN is no JSON"),
            (b"\0\1\0\0" + b"[" * 65536, "nested more than 100 deep"),
            (b"\0\1\0\0" + b'{"":' * 16384, "nested more than 100 deep"),
            (frames.encode(PS) + b"\0", "more than one request"),
            (frames.encode(PS) * 2, "more than one request"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame of 1,195,725,856 bytes"),
        ],
        ids=lambda value: repr(value)[:50],
    )
    def test_is_refused_and_does_no_harm(self, request_, why):
        with Loop():
            [answer] = ask_raw(request_)
            assert answer["error"]["kind"] == "malformed"
            assert why in answer["error"]["message"]
            assert listed()["loops"]

    def test_a_connection_closed_early_does_no_harm(self):
        with Loop():
            for sent in (b"", b"\0", b"\0\0\0", b"\0\0\0\x09{}", frames.encode(self.PS)[:-1]):
                assert ask_raw(sent, close=True) == []
            assert listed()["loops"]

    def test_of_a_few_bytes_at_a_time_is_one_all_the_same(self):
        frame = frames.encode(self.PS)
        with Loop():
            [answer] = ask_raw(*(frame[i:i + 1] for i in range(len(frame))))
            assert answer["pid"] == HERE

    def test_that_never_ends_is_given_up(self, monkeypatch):
        monkeypatch.setattr(server, "READ_TIMEOUT", 0.2)
        with Loop():
            [answer] = ask_raw(b"\0\0\0\x10{")
            assert "no request within 0.2 s" in answer["error"]["message"]
            [answer] = ask_raw(b"")
            assert "no request within 0.2 s" in answer["error"]["message"]

    def test_an_answer_that_nobody_reads_is_given_up(self, monkeypatch, no_leaks):
        monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.2)

        async def many() -> None:
            tasks = [asyncio.create_task(forever()) for _ in range(2000)]
            await asyncio.wait(tasks)

        with Loop(many):
            eventually(lambda: len(tasks_of()) > 2000)
            before = len(os.listdir("/proc/self/fd"))
            unread = client.Connection(HERE, {"do": "tree", "loop": None, "stacks": True})
            with unread:
                eventually(lambda: process._process.server._clients)
                eventually(lambda: not process._process.server._clients)
                assert len(os.listdir("/proc/self/fd")) == before + 1
            assert listed()["loops"]

    def test_clients_beyond_the_limit_are_refused_and_come_in_when_others_left(self, monkeypatch):
        monkeypatch.setattr(server, "MAX_CLIENTS", 5)
        with Loop():
            idle = [client._connect(HERE, 5) for _ in range(5)]
            eventually(lambda: len(process._process.server._clients) == 5)
            [answer] = ask_raw(self.PS)
            assert answer["error"] == {"kind": "refused", "type": None, "message": "5 clients are connected already"}
            assert glass("ps", "--json").json == [{"error": "5 clients are connected already", "pid": HERE}]
            for connection in idle:
                connection.close()
            eventually(lambda: "loops" in listed())

    def test_calls_leave_room_for_the_others(self, monkeypatch):
        monkeypatch.setattr(server, "MAX_JOBS", 3)

        @glassloop.expose
        async def wait() -> None:
            await forever()

        with Loop():
            calls = [client.Connection(HERE, {"do": "call", **call_request("wait", do=None)}) for _ in range(3)]
            eventually(lambda: listed()["loops"][0]["task_count"] == 4)
            said = glass("call", HERE, "wait")
            assert (said.code, said.err) == (2, "glassloop: too many calls are running already\n")
            for call in calls:
                call.close()
            eventually(lambda: listed()["loops"][0]["task_count"] == 1)

    def test_without_descriptors_it_waits_without_spinning(self, start):
        program = start("""
            import resource
            from glassloop.control import process
            async def main():
                loop = asyncio.get_running_loop()
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
                print('ready', flush=True)
                await loop.run_in_executor(None, sys.stdin.readline)
                while process._process.server._clients:
                    await asyncio.sleep(0.01)
                used = []
                try:
                    while True:
                        used.append(os.open('/dev/null', os.O_RDONLY))
                except OSError:
                    print('none left', flush=True)
                began = time.process_time()
                await loop.run_in_executor(None, sys.stdin.readline)
                print(time.process_time() - began, flush=True)
                for fd in used:
                    os.close(fd)
                print('freed', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        assert listed(program.pid)["loops"]

        def tell() -> str:
            program.stdin.write("\n")
            program.stdin.flush()
            return program.stdout.readline()

        assert tell() == "none left\n"
        waiting = client.Connection(program.pid, {"do": "ps"})
        with waiting:
            with pytest.raises(TimeoutError):
                list(waiting.messages(time.monotonic() + 0.7))
            assert float(tell()) < 0.5
            assert program.stdout.readline() == "freed\n"
        eventually(lambda: "loops" in listed(program.pid))


# ---- the wire format ----

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)
MESSAGES = st.dictionaries(st.text(), JSON, max_size=5)


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(ends, ends[1:])]


class TestFrames:
    @settings(max_examples=50)
    @given(st.lists(MESSAGES, max_size=3), st.lists(st.integers(min_value=0), max_size=10))
    def test_come_out_as_they_went_in_however_they_are_cut(self, messages, cuts):
        decoder, found = frames.Decoder(), []
        for part in cut_up(b"".join(map(frames.encode, messages)), cuts):
            found += decoder.feed(part)
        assert found == messages
        assert decoder.is_empty()

    @given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=20))
    def test_of_any_bytes_are_messages_or_an_error(self, data, cuts):
        decoder = frames.Decoder()
        with contextlib.suppress(frames.FrameError):
            for part in cut_up(data, cuts):
                assert all(type(message) is dict for message in decoder.feed(part))

    @given(st.binary(max_size=200))
    def test_with_any_body_are_a_message_or_an_error(self, body):
        with contextlib.suppress(frames.FrameError):
            assert type(frames.parse(body)) is dict

    @given(JSON)
    def test_are_measured_as_deep_as_they_are(self, value):
        def depth(value: Any) -> int:
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
            return 0 if inner is None else 1 + max(map(depth, inner), default=0)

        for ascii in (True, False):
            assert frames.depth(json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")) == depth(value)

    @given(st.text(alphabet='[]{}",:\\1 a', max_size=60))
    def test_are_never_measured_below_the_depth_to_which_a_parser_gets(self, text):
        deepest = 0

        class Counter(json.JSONDecoder):
            """The parser of the standard library in Python, which tells when it goes into something."""

            def __init__(self) -> None:
                super().__init__()
                self.level = 0
                self.parse_object = functools.partial(self.enter, json.decoder.JSONObject)
                self.parse_array = functools.partial(self.enter, json.decoder.JSONArray)
                self.scan_once = json.scanner.py_make_scanner(self)

            def enter(self, parse: Any, *args: Any, **kwargs: Any) -> Any:
                nonlocal deepest
                self.level += 1
                deepest = max(deepest, self.level)
                try:
                    return parse(*args, **kwargs)
                finally:
                    self.level -= 1

        with contextlib.suppress(ValueError):
            Counter().decode(text)
        assert frames.depth(text.encode()) >= deepest

    @pytest.mark.parametrize(
        "body",
        [b'"' + b'\\"' * 500_000, b'"\\' * 500_000, b'""' * 500_000, b'"[' * 500_000, b"]" * 1_000_000, b"[]" * 500_000,
         b'"' * 999_999, b"\\" * 1_000_000, b'{"a":[' * 150_000],
        ids=lambda body: repr(body[:8]),
    )
    def test_that_are_large_and_wicked_are_refused_soon(self, body):
        began = time.process_time()
        with pytest.raises(frames.FrameError):
            frames.parse(body)
        assert time.process_time() - began < 2

    def test_too_large_are_refused_before_they_are_there(self):
        decoder = frames.Decoder()
        with pytest.raises(frames.FrameError, match="a frame of 1,048,577 bytes"):
            decoder.feed((frames.MAX_FRAME + 1).to_bytes(4, "big"))
        with pytest.raises(frames.FrameError, match="a frame has at most"):
            frames.encode({"": "x" * frames.MAX_FRAME})
        size = frames.MAX_FRAME - len('{"":""}')
        assert frames.Decoder().feed(frames.encode({"": "x" * size})) == [{"": "x" * size}]


# ---- the server, under fire ----

FRAMES = int(os.environ.get("GLASSLOOP_FUZZ", "2000"))


class Fuzzer:
    """Draws what a client might send: requests that are right, nearly right, and anything but."""

    NAMES = ("ps", "tree", "cancel", "exposed", "call", "", "x", None, 7)
    VALUES = (None, True, 0, 1, -1, 2**70, 1.5, "", "1", "echo", "boom", "x" * 5000, "\ud800", [], [1], {}, {"n": 1}, [[[]]])
    FIELDS = ("glassloop", "do", "loop", "task", "name", "args", "kwargs", "wait", "stacks", "more", "error", "")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def request(self) -> dict[str, Any]:
        """One that is right."""
        pick = self.random.choice
        do = pick(self.NAMES[:5])
        fields: dict[str, Any] = {"glassloop": 1, "do": do}
        if do != "ps":
            fields["loop"] = None
        if do == "tree":
            fields["stacks"] = pick((True, False))
        if do == "cancel":
            fields["task"] = pick(("victim", "nobody", "1", "99999999"))
        if do == "call":
            name, args = pick((("echo", [1]), ("echo", []), ("boom", []), ("sleep", []), ("nothing", [])))
            fields.update(name=name, args=args, kwargs={}, wait=pick((True, True, False)))
        return fields

    def frame(self) -> tuple[bytes, bool]:
        """What to send, and whether the server can see that it is all."""
        random = self.random
        request = self.request()
        kind = random.randrange(14)
        if kind == 0:
            return random.randbytes(random.randrange(40)), False
        if kind == 1:
            request[random.choice(self.FIELDS)] = random.choice(self.VALUES)
        elif kind == 2:
            request.pop(random.choice(list(request)))
        elif kind == 3:
            request = {random.choice(self.FIELDS): random.choice(self.VALUES) for _ in range(random.randrange(6))}
        body = json.dumps(request).encode()
        if kind == 4:  # bits turned over
            body = bytearray(body)
            for _ in range(random.randrange(1, 5)):
                body[random.randrange(len(body))] ^= 1 << random.randrange(8)
            body = bytes(body)
        elif kind == 5:
            body = random.choice((b"[" * 3000, b'{"a":' * 999, b"\xff" * 9, b"null", b"[]", b"1e999", b"-", b'"' * 9, b"", b"9" * 9999))
        size = len(body)
        if kind == 6:  # a length that is wrong
            size = random.choice((0, size - 1, size + 1, 2**20, 2**20 + 1, 2**31, 2**32 - 1))
        elif kind == 7:  # cut off
            body = body[:random.randrange(len(body))]
        data = size.to_bytes(4, "big") + body
        return data * 2 if kind == 8 else data, kind not in (6, 7)


class TestTheServerUnderFire:
    def fire(self, fuzzer: Fuzzer) -> str:
        """One connection. What came of it."""
        connection = client._connect(HERE, 10)
        connection.settimeout(30)
        data, whole = fuzzer.frame()
        patient = fuzzer.random.random() < 0.9
        with connection:
            try:
                for part in cut_up(data, [fuzzer.random.randrange(100)]):
                    connection.sendall(part)
                if not patient:
                    return "gone"
                if not whole:
                    connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                assert error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
            answer, decoder = None, frames.Decoder()
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    for answer in decoder.feed(data):
                        assert isinstance(answer, dict)
            assert decoder.is_empty()
        if answer is None:
            return "silence"
        kind = answer["error"]["kind"] if "error" in answer else "answered"
        assert kind in ("answered", "malformed", "usage", "raised"), answer
        return kind

    @pytest.mark.timeout(3600 if FRAMES > 2000 else 60)
    def test_survives_and_nothing_is_left(self, no_leaks, caplog):
        @glassloop.expose
        async def echo(value: Any) -> Any:
            return value

        @glassloop.expose
        async def boom() -> None:
            raise ValueError("boom")

        @glassloop.expose
        async def sleep() -> None:
            await asyncio.sleep(0.001)

        async def victims() -> None:
            while True:
                await asyncio.wait([asyncio.create_task(forever(), name="victim")])

        seed = random.randrange(2**32)
        print("seed", seed)
        fuzzer = Fuzzer(seed)
        came: collections.Counter[str] = collections.Counter()
        with Loop() as program:
            loop = program.loop
            supply = asyncio.run_coroutine_threadsafe(victims(), loop)
            # no number that is drawn, or comes of a bit turned over, is that of the program's own tasks
            process._process.server._answers._numbers._next_task = itertools.count(10**12)
            eventually(lambda: "victim" in tasks_of())
            before = len(os.listdir("/proc/self/fd"))
            threads = threading.active_count()
            [server_thread] = [thread for thread in threading.enumerate() if thread.name == "glassloop-control"]
            for _ in range(FRAMES):
                came[self.fire(fuzzer)] += 1
            assert server_thread.is_alive()
            assert listed()["loops"][0]["state"] in ("idle", "running")
            assert glass("call", HERE, "echo", "[5]").json == 5
            supply.cancel()
            eventually(lambda: len(asyncio.all_tasks(loop)) == 2)  # the program's, and the last victim
            eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
            assert threading.active_count() == threads
        print(dict(came))
        # all there is came of it, or the fuzzer is a weak one
        assert came.keys() >= {"answered", "malformed", "usage", "raised", "gone", "silence"}, came
        assert "could not answer" not in caplog.text
