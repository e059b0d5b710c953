"""What goes over the control socket: frames, each a length and a JSON object.

    4 bytes    the length of what follows, big-endian, at most MAX_FRAME
    ...        a JSON object in UTF-8, without NaN or Infinity, nested at most MAX_DEPTH deep

A connection carries one request, one frame from the client, and its answer, one frame or more: all but the last have
`"more": true`. A side that reads anything else has a FrameError, and closes. The bounds are checked before memory is
taken or a parser is let loose: the length when its four bytes are there, the depth before the JSON is parsed (the
parser recurses in C, and a program may have raised Python's own limit).

Not here: which requests there are (answers.py), and who may send them (server.py).
"""
from __future__ import annotations

import json
import re
from typing import Any

MAX_FRAME = 1 << 20  # bytes
MAX_DEPTH = 100

HEADER = 4

# a string, also one that never ends: so that each byte is looked at once
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}'))
_OPENING = b'[{'


class FrameError(ValueError):
    """What came is no frame, or what is to be sent does not fit into one."""


def encode(message: dict[str, Any]) -> bytes:
    """The frame of a message. Raises TypeError or ValueError for what JSON can't say, FrameError (a ValueError) if it
    is larger than MAX_FRAME."""
    try:
        body = json.dumps(message, allow_nan=False, separators=(',', ':')).encode('ascii')
    except RecursionError:
        raise FrameError('nested too deep for JSON') from None
    if len(body) > MAX_FRAME:
        raise FrameError(f'{len(body):,} bytes of JSON; a frame has at most {MAX_FRAME:,}')
    if depth(body) > MAX_DEPTH:
        raise FrameError(f'nested more than {MAX_DEPTH} deep')
    return len(body).to_bytes(HEADER, 'big') + body


def parse(body: bytes) -> dict[str, Any]:
    """The message in a frame. Raises FrameError."""
    if depth(body) > MAX_DEPTH:
        raise FrameError(f'nested more than {MAX_DEPTH} deep')
    try:
        message = json.loads(body.decode('utf-8'), parse_constant=_refuse)
    except ValueError as error:
        raise FrameError(f'no JSON: {error}') from None
    if type(message) is not dict:
        raise FrameError('no JSON object')
    return message


def depth(body: bytes) -> int:
    """How deep JSON is nested; of what is no JSON, some number that is not below the depth to which a parser gets."""
    level = deepest = 0
    for bracket in _STRING.sub(b'', body).translate(None, _NO_BRACKETS):
        if bracket in _OPENING:
            level += 1
            if level > deepest:
                deepest = level
                if level > MAX_DEPTH:
                    break
        elif level:
            level -= 1
    return deepest


def _refuse(constant: str) -> Any:
    raise ValueError(f'{constant} is no JSON')


class Decoder:
    """Bytes as they come -> messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete with these bytes. Raises FrameError; what comes after that means nothing."""
        buffer = self._buffer
        buffer += data
        messages = []
        while len(buffer) >= HEADER:
            size = int.from_bytes(buffer[:HEADER], 'big')
            if size > MAX_FRAME:
                raise FrameError(f'a frame of {size:,} bytes; at most {MAX_FRAME:,} are taken')
            if len(buffer) < HEADER + size:
                break
            body = bytes(buffer[HEADER:HEADER + size])
            del buffer[:HEADER + size]
            messages.append(parse(body))
        return messages

    def is_empty(self) -> bool:
        """True between frames."""
        return not self._buffer
