"""What comes in over the control socket and is no request, or comes slowly, or from too many: it does no harm."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
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
            ({"glassloop": 1, "do": "tree"}, "tree has the fields loop"),
            ({"glassloop": 1, "do": "tree", "loop": "1"}, "loop of tree is of the wrong type"),
            ({"glassloop": 1, "do": "tree", "loop": True}, "loop of tree is of the wrong type"),
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
            unread = client.Connection(HERE, {"do": "tree", "loop": None})
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
