"""System calls of the loop's own that a tool may take for a program's: on the files of Unix sockets, and sendfile() on a
non-blocking socket.

They are those of `posix`, which `os` hands on. Tools that look for what blocks a loop (blockbuster) put something else in
os's place; asyncio's own calls they know by the names of asyncio's files, ours they would report.
"""
from __future__ import annotations

import posix
from typing import Any

remove = posix.remove
stat = posix.stat
unlink = posix.unlink

#: None where the kernel has none
sendfile: Any = getattr(posix, 'sendfile', None)
