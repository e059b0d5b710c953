"""The `glassloop` command.

`glassloop run` is `python` for a program that is to run on glassloop, and nothing of it should show: the
program gets a fresh `__main__` module, its own sys.argv and sys.path[0]; what it raises goes through to the
interpreter, which prints it and sets the exit code, waits for threads and runs atexit functions as it always
does; only the frames of the launcher are taken out of the traceback. Modules, folders and zip files are run
by the function of runpy with which the interpreter itself does that.

The other commands look at programs that run: control/commands.py.

Not here: how asyncio is made to use glassloop (runner.py).
"""
from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import os
import pkgutil
import runpy
import sys
import types
from collections.abc import Callable, Sequence

from . import __version__, compiled
from .control import commands as outside
from .control import hold_to_the_end
from .runner import take_over

EXAMPLES = """\
examples:
  glassloop run app.py --port 8080     instead of  python app.py --port 8080
  glassloop run -m package.app         instead of  python -m package.app
  glassloop run - < app.py             the program comes from standard input
  python -O -m glassloop run app.py    the options of python stay where they are
"""

RUN = """\
Run a program as python does, but on glassloop: the loops that asyncio.run(), asyncio.Runner and
asyncio.new_event_loop() make in it are glassloop's, also where the program, or a framework that it
uses, asks for asyncio's loop or uvloop's by name. Everything after FILE or MODULE is the program's.
"""

# what stands in a traceback between the launcher and the program
LAUNCHERS = {__name__, 'runpy', 'pkgutil', 'importlib.util', 'zipimport', '_frozen_importlib',
             '_frozen_importlib_external', 'importlib._bootstrap', 'importlib._bootstrap_external'}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: `argv` is what follows the command's name (sys.argv[1:] by default). Returns the exit
    code. What a program raises goes through, SystemExit too."""
    options, program = split(list(sys.argv[1:] if argv is None else argv))
    parser, run_parser = make_parsers()
    if options and options[0] not in ('run', *outside.NAMES) and os.path.isfile(options[0]):
        parser.error(f'no command {options[0]!r}; to run that file: glassloop run {options[0]}')
    chosen = parser.parse_args(options)
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return 2
    if chosen.command != 'run':
        return outside.run(chosen)
    if not program:
        run_parser.error('nothing to run: name a FILE, or -m MODULE')
    return run(program, control=chosen.control)


def make_parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of the command, and that of `run`, which describes FILE and MODULE though split() takes
    them."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog='glassloop', formatter_class=layout, epilog=EXAMPLES,
        description='An asyncio runtime: complete, fast, and clear.')
    how = 'compiled' if compiled else 'interpreted'
    python = f'{sys.implementation.name} {sys.version.split()[0]}'
    parser.add_argument('--version', action='version', version=f'glassloop {__version__} ({how}, {python})')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', title='commands')
    run = commands.add_parser(
        'run', formatter_class=layout, description=RUN, epilog=EXAMPLES, help='run a program on glassloop',
        usage='glassloop run [-h] [--control] (FILE | -m MODULE) [ARGS...]')
    run.add_argument('--control', action='store_true',
                     help='open a control socket for this user: see glassloop ps, tree, cancel, call')
    run.add_argument('file', nargs='?', metavar='FILE',
                     help='a script, a folder or zip file with a __main__.py, or - for standard input')
    run.add_argument('-m', dest='module', metavar='MODULE', help='a module or package, as python -m')
    run.add_argument('args', nargs='*', metavar='ARGS', help="the program's arguments: its sys.argv[1:]")
    outside.add_parsers(commands)
    return parser, run


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Divide the arguments of the command: ours, and from FILE or -m MODULE on the program's, whatever they
    look like. The program's part is [FILE, ARGS...] or ['-m', MODULE, ARGS...], or empty."""
    if argv[:1] != ['run']:
        return argv, []
    for i in range(1, len(argv)):
        word = argv[i]
        if word == '--':
            return argv[:i], argv[i + 1:]
        if word == '-m':
            return (argv[:i], argv[i:]) if len(argv) > i + 1 else (argv, [])
        if word.startswith('-m'):
            return argv[:i], ['-m', word[2:], *argv[i + 1:]]
        if word == '-' or not word.startswith('-'):
            return argv[:i], argv[i:]
    return argv, []


def run(program: list[str], *, control: bool = False) -> int:
    """Run [FILE, ARGS...] or ['-m', MODULE, ARGS...] as python would; control: with a control socket, until the process
    ends. Returns the exit code."""
    take_over()
    try:
        hold_to_the_end(control or None)
    except (OSError, RuntimeError) as problem:
        print(f'glassloop: --control: {problem}', file=sys.stderr)
        return 2
    try:
        if program[0] == '-m':
            return run_module(program[1], program[2:])
        return run_file(program[0], program[1:])
    except SystemExit:
        raise
    except BaseException as error:
        hide_launcher(error)
        raise


def run_module(name: str, args: list[str]) -> int:
    sys.argv[:] = ['-m', *args]
    set_first_path(os.getcwd())
    fresh_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]
    return 0


def run_file(file: str, args: list[str]) -> int:
    sys.argv[:] = [file, *args]
    if file == '-':
        set_first_path('')
        execute(sys.stdin.buffer.read(), '<stdin>', importlib.machinery.BuiltinImporter)
        return 0
    path = os.path.join(os.getcwd(), file)
    if pkgutil.get_importer(path) is not None:  # a folder or a zip file
        sys.path[:0 if sys.flags.safe_path else 1] = [path]
        fresh_main()
        runpy._run_module_as_main('__main__', alter_argv=False)  # type: ignore[attr-defined]
        return 0
    try:
        with open(path, 'rb') as stream:
            source = stream.read()
    except OSError as error:
        print(f"glassloop: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        return 2
    set_first_path(os.path.dirname(os.path.realpath(path)))
    if path.endswith('.pyc'):
        loader = importlib.machinery.SourcelessFileLoader('__main__', path)
        execute(loader.get_code('__main__'), path, loader)
    else:
        execute(source, path, importlib.machinery.SourceFileLoader('__main__', path))
    return 0


def execute(source: bytes | types.CodeType | None, path: str, loader: object) -> None:
    """Run the program in a new `__main__`."""
    code = compile(source, path, 'exec', dont_inherit=True) if isinstance(source, bytes) else source
    assert code is not None
    namespace = fresh_main()
    namespace.update(__file__=path, __loader__=loader)
    if sys.version_info < (3, 15):
        namespace['__cached__'] = None
    exec(code, namespace)


def fresh_main() -> dict[str, object]:
    """Make a new module `__main__`, as python does for a program; returns its namespace."""
    module = types.ModuleType('__main__')
    module.__dict__['__builtins__'] = builtins
    if sys.version_info < (3, 14):
        module.__dict__['__annotations__'] = {}
    sys.modules['__main__'] = module
    return module.__dict__


def set_first_path(path: str) -> None:
    """Put the program's folder where python has put the launcher's, if it did (not with -P or -I)."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def hide_launcher(error: BaseException) -> None:
    """Let the interpreter, when it comes to print the exception, show only the program's part of the
    traceback."""
    shown = error.__traceback__
    while shown is not None and shown.tb_frame.f_globals.get('__name__') in LAUNCHERS:
        shown = shown.tb_next
    hook: Callable[..., object] = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, trace: types.TracebackType | None) -> None:
        if value is error:
            value, trace = value.with_traceback(shown), shown
        hook(kind, value, trace)

    sys.excepthook = show
