"""A program seen and driven from outside: its tasks listed and cancelled, its functions called, by another process of
the same user. It is off unless it is asked for, and then one socket and one thread per process.

    exposed.py     @expose: which functions may be called
    frames.py      what goes over the socket: JSON in bounded frames       (used by both sides)
    folder.py      where the socket is, and whose that place must be       (used by both sides)
    server.py      the thread: accepts, reads, answers, gives up
    answers.py     what each request does, and what is told of a loop
    process.py     one server per process: who keeps it, the exit, a fork
    client.py      the other side: finding processes, asking them
    commands.py    `glassloop ps | tree | cancel | call`

What may come in. Whoever connects is named by the kernel (SO_PEERCRED) and must be of the user as whom the server was
started; root is refused, too: it can become that user, and then leaves a trace of having done so. Nothing that comes in
is ever evaluated or unpickled; what can be called is what the program exposed, and nothing else.

None of this is compiled.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .exposed import expose

if TYPE_CHECKING:
    from .process import Hold

__all__ = ('expose',)

VARIABLE = 'GLASSLOOP_CONTROL'


def hold(control: bool | None) -> Hold | None:
    """What a Runner begins with. True: keep the control socket open, until the returned object is closed; raises
    PermissionError, NotImplementedError, RuntimeError, OSError if that can't be. None: as the environment says, and then to
    the end of the process. False: no."""
    if control:
        from .process import Hold

        return Hold()
    if control is None:
        hold_to_the_end(None)
    return None


def hold_to_the_end(control: bool | None) -> None:
    """The same until the process ends."""
    if control:
        from .process import hold_to_the_end

        hold_to_the_end()
    elif control is None and os.environ.get(VARIABLE, '0') not in ('', '0'):
        from .process import obey_environment

        obey_environment()
