"""What asyncio.subprocess has, glassloop's own: `from glassloop.subprocess import PIPE, create_subprocess_exec`."""
from .work.subprocess import (
    DEVNULL,
    PIPE,
    STDOUT,
    Process,
    SubprocessStreamProtocol,
    create_subprocess_exec,
    create_subprocess_shell,
)

__all__ = ['DEVNULL', 'PIPE', 'STDOUT', 'Process', 'SubprocessStreamProtocol', 'create_subprocess_exec',
           'create_subprocess_shell']
