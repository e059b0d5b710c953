"""Builds glassloop: compiled where there is a C compiler, interpreted where there is none.

What is compiled follows from a rule, not from a list: every `X.pyx`, and every `X.py` with an `X.pxd` beside
it (except `__init__`). Where both `X.pyx` and `X.py` exist the extension is made from the `.pyx`, and the
`.py` is its interpreted twin.

It is all or nothing. A compiled module works with the C structs of the others, so a runtime that is half
compiled would not work: with a compiler, a module that does not compile fails the build; without one, nothing
is compiled and a notice says so.

Environment:
    GLASSLOOP_PURE=1      interpreted, even where there is a compiler
    GLASSLOOP_COMPILED=1  compiled: a missing compiler is an error
    GLASSLOOP_ANNOTATE=1  write Cython's annotated HTML beside the generated C
    GLASSLOOP_SANITIZE=1  with the address and undefined-behaviour sanitizers (see tests/sanitize.py)

The generated C goes to build/cython-*, the finished package to build/compiled-<cache tag> or
build/interpreted. No file is ever written into src/.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError, SetupError

SRC = Path("src")
PACKAGE = SRC / "glassloop"

DIRECTIVES: dict[str, object] = {
    "language_level": 3,
    # C types come from the .pxd alone: as a C type, an annotation would turn duck typing into TypeError.
    "annotation_typing": False,
    "auto_pickle": False,
    "binding": True,
    "boundscheck": False,
    "cdivision": True,
    "embedsignature": False,
    "emit_code_comments": False,
    "initializedcheck": False,
    "wraparound": False,
}
CFLAGS = [
    "-O2",
    "-g0",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-Werror=implicit-function-declaration",
]
LDFLAGS: list[str] = []
if os.name == "nt":
    CFLAGS = []
elif os.environ.get("GLASSLOOP_SANITIZE", "") not in ("", "0"):
    sanitizers = "-fsanitize=address,undefined"
    CFLAGS += ["-O1", "-g1", "-fno-omit-frame-pointer", sanitizers, "-DGLASSLOOP_SANITIZE"]
    LDFLAGS = [sanitizers]


def version() -> str:
    text = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SetupError(f'{PACKAGE}/__init__.py has no line of the form: __version__ = "..."')
    return found[1]


def cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def compiled_modules() -> list[Extension]:
    """An extension for each module that the rule names."""
    stems = {path.with_suffix("") for path in PACKAGE.rglob("*.pxd")}
    sources = {stem: stem.with_suffix(".py") for stem in stems if stem.with_suffix(".py").exists()}
    sources |= {path.with_suffix(""): path for path in PACKAGE.rglob("*.pyx")}
    headers = [path.as_posix() for path in PACKAGE.rglob("*.h")]
    return [
        Extension(
            ".".join(stem.relative_to(SRC).parts),
            [source.as_posix()],
            include_dirs=[SRC.as_posix()],
            depends=headers,
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for stem, source in sorted(sources.items())
        if stem.name != "__init__"
    ]


CIMPORT = re.compile(r"^from +([\w.]+) +cimport +(.+)$", re.MULTILINE)


def declarations(module: Path) -> set[Path]:
    """The files with the C structs that a module's C code is made with: its own .pxd, and those that it cimports, and
    those that these do. Cython itself doesn't see the module in `from package cimport module as name`."""
    found: set[Path] = set()
    left = [module.with_suffix(".pyx"), module.with_suffix(".pxd")]
    while left:
        path = left.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for package, names in CIMPORT.findall(path.read_text(encoding="utf-8")):
            folder = SRC.joinpath(*package.split("."))
            left.append(folder.with_suffix(".pxd"))
            left += [folder / f"{name.split()[0]}.pxd" for name in names.split(",")]
    return found


def missing_compiler() -> str | None:
    """Compile and link a tiny extension. None when that works, else the reason why not."""
    from distutils.ccompiler import new_compiler  # setuptools' own, also where Python has none
    from distutils.sysconfig import customize_compiler, get_python_inc

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        source.write_text("#include <Python.h>\nPyObject *probe(void) { return PyLong_FromLong(1); }\n")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            includes = {get_python_inc(), get_python_inc(plat_specific=True)}
            objects = compiler.compile([str(source)], output_dir=scratch, include_dirs=sorted(includes))
            compiler.link_shared_object(objects, str(Path(scratch, "probe.so")))
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            return str(error)
    return None


def notice(*lines: str) -> None:
    """Say it where it is seen: pip swallows a build's output, so a terminal is told directly."""
    width = max(map(len, lines))
    edge = "*" * (width + 4)
    text = "\n".join(["", edge, *(f"* {line:{width}} *" for line in lines), edge, "", ""])
    print(text, file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        with contextlib.suppress(OSError), open("/dev/tty", "w") as terminal:
            terminal.write(text)


def wanted_extensions() -> list[Extension]:
    if os.environ.get("GLASSLOOP_PURE", "") not in ("", "0"):
        return []
    reason = missing_compiler()
    if reason is None:
        return compiled_modules()
    if os.environ.get("GLASSLOOP_COMPILED", "") not in ("", "0"):
        raise SetupError(f"GLASSLOOP_COMPILED is set, but no extension module can be compiled here: {reason}")
    if "bdist_wheel" in sys.argv or "build" in sys.argv:
        notice(
            "No working C compiler (or no Python.h): installing the INTERPRETED runtime of glassloop.",
            "It is complete and passes the same tests, but it is slower than the compiled one.",
            "To get the compiled one, install a C compiler and Python's headers, then install again.",
            f"What was missing: {' '.join(reason.split())[:200]}",
        )
    return []


class Build(build):
    """Builds into one folder per interpreter, and leaves nothing stale in it."""

    def finalize_options(self) -> None:
        compiled = self.distribution.has_ext_modules()
        tag = sys.implementation.cache_tag
        if self.build_lib is None:
            self.build_lib = os.path.join(self.build_base, f"compiled-{tag}" if compiled else "interpreted")
        if self.build_temp is None:
            self.build_temp = os.path.join(self.build_base, f"temp-{tag}")
        if self.parallel is None:
            self.parallel = cores()
        super().finalize_options()

    def run(self) -> None:
        with self.alone():
            super().run()
            self.prune()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Two builds into one folder wait for each other."""
        try:
            import fcntl
        except ImportError:  # no flock on this system, and no parallel development either
            yield
            return
        os.makedirs(self.build_base, exist_ok=True)
        with open(os.path.join(self.build_base, ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def prune(self) -> None:
        """Remove what an earlier build left here: a wheel takes the whole folder."""
        made = {os.path.abspath(path) for path in self.get_finalized_command("build_py").get_outputs(0)}
        made |= {os.path.abspath(path) for path in self.get_finalized_command("build_ext").get_outputs()}
        for folder, _, names in os.walk(os.path.join(self.build_lib, "glassloop"), topdown=False):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.abspath(path) not in made:
                    os.remove(path)
            if not os.listdir(folder):
                os.rmdir(folder)


class BuildExt(build_ext):
    """Runs Cython over the single sources, then the C compiler over what changed."""

    def run(self) -> None:
        if self.inplace or self.editable_mode:
            # An extension within src/ would shadow the .py that is being edited.
            notice("An editable install runs the INTERPRETED runtime, from src/.")
            self.extensions = []
            return
        failed = self.cythonize() if self.extensions else []
        super().run()
        if failed:
            raise SetupError(f"these modules did not compile (see above): {', '.join(failed)}")

    def cythonize(self) -> list[str]:
        """Turn each extension's source into C. Returns the names of those that failed.

        The others are still built before the build fails: a broken module does not stand in the way of
        working on the rest. An extension that an earlier build made from the broken module is taken away.
        """
        from Cython import __version__ as cython_version
        from Cython.Build import cythonize

        # Cython compares times alone, so other options or another Cython need another folder.
        options = repr(sorted(DIRECTIVES.items())).encode()
        fingerprint = f"{cython_version}-{sum(byte * (i + 1) for i, byte in enumerate(options)) % 0xFFFF:04x}"
        base = self.get_finalized_command("build").build_base
        folder = Path(base, f"cython-{fingerprint}")
        for ext in self.extensions:
            source = Path(ext.sources[0])
            with contextlib.suppress(FileNotFoundError):
                age = (folder / source.with_suffix(".c")).stat().st_mtime
                if any(path.stat().st_mtime > age for path in declarations(source)):
                    (folder / source.with_suffix(".c")).unlink()
        made = cythonize(
            [Extension(ext.name, ext.sources, include_dirs=ext.include_dirs) for ext in self.extensions],
            annotate=bool(os.environ.get("GLASSLOOP_ANNOTATE")),
            build_dir=str(folder),
            compiler_directives=DIRECTIVES,
            exclude_failures=True,
            include_path=[SRC.as_posix()],
            nthreads=cores(),
            quiet=True,
        )
        by_name = {ext.name: ext for ext in made}
        failed = [ext.name for ext in self.extensions if ext.name not in by_name]
        for name in failed:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.get_ext_fullpath(name))
        self.extensions = [ext for ext in self.extensions if ext.name in by_name]
        for ext in self.extensions:
            ext.sources = by_name[ext.name].sources
        return failed


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    os.makedirs("build", exist_ok=True)
    extensions = wanted_extensions()
    # The suffix shows in `pip install` and `pip list` which of the two runtimes this is.
    setup(
        version=version() + ("" if extensions else "+interpreted"),
        ext_modules=extensions,
        cmdclass={"build": Build, "build_ext": BuildExt},
        options={"egg_info": {"egg_base": "build"}},
    )
