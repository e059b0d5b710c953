"""The tests on a build with the address and undefined-behaviour sanitizers: what `make sanitize` runs.

    python tests/sanitize.py BUILD [PYTEST ARGUMENT...]      all tests, or those named

The interpreter itself isn't built with them, so their libraries are loaded before it, and its own allocator is switched
off, that each object is seen by the address sanitizer. In such a build freed operations, futures and handles aren't kept
for reuse. Any report ends the process that made it, and so fails its test. Leaks aren't looked for here: an interpreter
frees little at its end; the tests count what is left.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def library(name: str) -> str:
    compiler = shlex.split(os.environ.get("CC", "cc"))
    found = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    if not Path(path).is_absolute():
        sys.exit(f"sanitize: the C compiler has no {name}")
    return path


def main(build: str, *arguments: str) -> int:
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')}:{library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_segv=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "GLASSLOOP_SANITIZE": "1",
    }
    command = [sys.executable, "-m", "pytest", "--runtime=compiled", "--build", build, *(arguments or ["tests"])]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
