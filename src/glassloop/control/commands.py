"""`glassloop ps`, `tree`, `cancel` and `call`: what they take, what they print, how they exit.

Exit codes: 0; 1 if what was asked for failed (the function raised, the process ended or does not answer); 2 if it could
not be asked (usage, no such process, task or name); 130 after Ctrl-C.

What other processes say of themselves is printed with everything that a terminal would act upon escaped.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..snapshot import TaskInfo

NAMES = ('ps', 'tree', 'cancel', 'call')

CALL = """\
Run a coroutine function that the program exposed with @glassloop.expose, as a task of its loop, and print
its result as JSON. ARGS is a JSON array (positional arguments) or object (keyword arguments); - reads it
from standard input. Without NAME: show what can be called.

exit code: 0; 1 and the exception on standard error if it raised; 2 if there is no such process or name, or
the arguments don't fit. Ctrl-C, and whatever else ends this command, cancels the task.
"""
EXAMPLES = """\
examples:
  glassloop call 4711                           what can be called
  glassloop call 4711 status
  glassloop call 4711 resize '[8]'
  glassloop call 4711 reload '{"path": "b.conf"}' --no-wait
"""
CANCEL = """\
Cancel a task: by its number, as `glassloop tree` shows it, or by its name, if no other task has it. Returns
when the loop has told the task, which then ends in its own time.
"""


def add_parsers(commands: Any) -> None:
    """Add the commands to the `glassloop` command's."""
    layout = argparse.RawDescriptionHelpFormatter
    ps = commands.add_parser('ps', help='list the programs of this user that run with control on', description=(
        'List the programs of this user that run with control on: glassloop.run(..., control=True), '
        'glassloop run --control, or GLASSLOOP_CONTROL=1.'))
    ps.add_argument('--json', action='store_true', help='print a JSON array')

    tree = commands.add_parser('tree', help="show a program's tasks, who waits for whom, and where", description=(
        'Show the tasks of a program as a tree, who waits above what he waits for: number, name, coroutine, state, '
        'file and line, age.'))
    _add_process(tree)
    tree.add_argument('--json', action='store_true', help='print a JSON object, with the stack of each task')

    cancel = commands.add_parser('cancel', help='cancel a task of a program', description=CANCEL, formatter_class=layout)
    _add_process(cancel)
    cancel.add_argument('task', metavar='TASK', help='the number of the task, or its name')

    call = commands.add_parser('call', help='call an exposed function of a program', description=CALL,
                               formatter_class=layout, epilog=EXAMPLES)
    _add_process(call)
    call.add_argument('name', metavar='NAME', nargs='?', help='the exposed function')
    call.add_argument('args', metavar='ARGS', nargs='?', default='[]', help='its arguments as JSON')
    call.add_argument('--no-wait', action='store_true', help='return at once; what it raises is the program\'s to report')


def _add_process(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('pid', metavar='PID', type=int, help='the process')
    parser.add_argument('--loop', metavar='N', type=int, help='one loop of it, by the number that ps and tree show')


def run(options: argparse.Namespace) -> int:
    """Carry out a command. Returns the exit code."""
    from .client import Unanswered

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    try:
        code = _COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except ProcessLookupError as problem:
        return _fail(2, str(problem))
    except Unanswered as problem:
        if problem.kind == 'raised':
            sys.stderr.write(f'{printable(problem.type or "Exception")}: {printable(str(problem), keep=chr(10))}\n')
            return 1
        return _fail(1 if problem.kind in ('ended', 'lost') else 2, str(problem))
    except BrokenPipeError:
        # whoever read our output has seen enough; nor is there anywhere to flush it to at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TimeoutError, OSError, NotImplementedError) as problem:
        return _fail(1, str(problem))
    except KeyboardInterrupt:
        return 130


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f'glassloop: {printable(message)}\n')
    return code


def printable(text: str, keep: str = '') -> str:
    """Text without what a terminal would act upon."""
    return ''.join(c if c.isprintable() or c in keep else c.encode('unicode_escape', 'replace').decode() for c in text)


def as_json(value: object) -> str:
    """One line of JSON, readable where it can be."""
    text = json.dumps(value, ensure_ascii=False)
    return ''.join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


# ---- ps ----

def _ps(options: argparse.Namespace) -> int:
    from .client import processes

    found, wrong = processes()
    for problem in wrong:
        _fail(0, problem)
    if options.json:
        print(as_json(found))
        return 0
    rows: list[tuple[str, ...]] = [('PID', 'UPTIME', 'PYTHON', 'TASKS', 'LOOP', 'PROGRAM')]
    for process in found:
        rows += _rows(process)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [row[0].rjust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2]), row[3].rjust(widths[3]),
                 row[4].ljust(widths[4]), row[5]]
        print(_fit(printable('  '.join(cells).rstrip())))
    return 0


def _rows(process: dict[str, Any]) -> list[tuple[str, ...]]:
    pid = str(process['pid'])
    if 'loops' not in process:
        return [(pid, '', '', '', printable(process.get('error', 'no answer')), '')]
    first = (pid, duration(process['uptime']), process['python'])
    program = printable(process['program'])
    loops = process['loops']
    if not loops:
        return [(*first, '0', 'none', program)]
    rows = []
    for loop in loops:
        state = describe_state(loop)
        if len(loops) > 1:
            state = f"{loop['loop']}: {state}"
        rows.append((*(first if loop is loops[0] else ('', '', '')), str(loop['task_count']), state,
                     program if loop is loops[0] else ''))
    return rows


def describe_state(loop: dict[str, Any]) -> str:
    """What a loop does."""
    if loop['state'] != 'hung':
        return str(loop['state'])
    at = loop['at']
    where = '' if at is None else f' at {printable(short(at[0]))}:{at[1]}'
    return f"hung for {duration(loop['busy'])}{where}"


def duration(seconds: float) -> str:
    """Seconds in two units at most."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    minutes = int(seconds) // 60
    if minutes < 60:
        return f'{minutes} min {int(seconds) % 60} s'
    hours = minutes // 60
    return f'{hours} h {minutes % 60} min' if hours < 24 else f'{hours // 24} d {hours % 24} h'


def short(path: str) -> str:
    """A path as seen from the working directory, where it is below it."""
    here = os.getcwd() + os.sep
    return path.removeprefix(here)


def _fit(line: str) -> str:
    if not sys.stdout.isatty():
        return line
    import shutil

    width = shutil.get_terminal_size().columns
    return line if len(line) <= width else line[:width - 1] + '…'


# ---- tree ----

def _tree(options: argparse.Namespace) -> int:
    from ..snapshot import tree
    from .client import ask

    messages = ask(options.pid, 'tree', loop=options.loop, stacks=options.json, timeout=60.0)
    tasks = [task for message in messages for task in message.get('tasks', ())]
    loops = messages[-1]['loops']
    if options.json:
        print(as_json({'pid': options.pid, 'loops': [
            {**loop, 'tasks': [task for task in tasks if task['loop'] == loop['loop']]} for loop in loops]}))
        return 0
    if not loops:
        print('no loop')
    for loop in loops:
        thread = '' if loop['thread'] is None else f" in {printable(loop['thread'])}"
        count = loop['task_count']
        print(f"loop {loop['loop']}{thread}: {describe_state(loop)}, {count} task{'' if count == 1 else 's'}")
        infos = [_info(task) for task in tasks if task['loop'] == loop['loop']]
        for line in tree(infos).splitlines():
            print(f'  {line}')
    return 0


def _info(task: dict[str, Any]) -> TaskInfo:
    from ..snapshot import TaskInfo

    said: dict[str, Any] = {
        key: printable(value) if isinstance(value, str) else value for key, value in task.items() if key != 'loop'}
    said['name'] = f"{said['id']}  {said['name']}"  # by this it is cancelled
    said['file'] = None if said['file'] is None else short(said['file'])
    said['stack'] = tuple(tuple(place) for place in said['stack'])
    said['awaited_by'] = tuple(said['awaited_by'])
    return TaskInfo(**said)


# ---- cancel, call ----

def _cancel(options: argparse.Namespace) -> int:
    from .client import ask

    [done] = ask(options.pid, 'cancel', loop=options.loop, task=options.task)
    task = f"task {done['task']} ({printable(done['name'])})"
    if done['pending']:
        print(f'{task} will be cancelled as soon as its loop gets to it: the loop is busy')
    elif done['cancelled']:
        print(f'{task} cancelled')
    else:
        return _fail(1, f'{task} had ended already')
    return 0


def _call(options: argparse.Namespace) -> int:
    from .client import ask

    if options.name is None:
        return _show_exposed(options)
    text = sys.stdin.read() if options.args == '-' else options.args
    try:
        arguments = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        return _fail(2, f'ARGS is no JSON: {problem}')
    if not isinstance(arguments, (list, dict)):
        return _fail(2, f'ARGS is to be a JSON array or object, such as [{text}]')
    args, kwargs = (arguments, {}) if isinstance(arguments, list) else ([], arguments)
    [answer] = ask(options.pid, 'call', timeout=None, loop=options.loop, name=options.name, args=args, kwargs=kwargs,
                   wait=not options.no_wait)
    if not options.no_wait:
        print(as_json(answer['result']))
    return 0


def _refuse(constant: str) -> Any:
    raise ValueError(f'{constant} is no JSON')


def _show_exposed(options: argparse.Namespace) -> int:
    from .client import ask

    messages = ask(options.pid, 'exposed', loop=options.loop)
    for entry in (entry for message in messages for entry in message.get('exposed', ())):
        doc = '' if entry['doc'] is None else f"  {entry['doc']}"
        print(printable(f"{entry['name']}{entry['signature']}{doc}"))
    return 0


_COMMANDS = {'ps': _ps, 'tree': _tree, 'cancel': _cancel, 'call': _call}
