"""Context variables in another process.

A ContextVar can't be pickled: it is what it is by identity. Where it is an attribute of a module (and it nearly always is)
that is its name, and the worker finds its own one there. One of `__main__`, and one that only a function sent by value
refers to, gets a twin in the worker, which is the same one for all jobs.

A job's context starts empty and gets the values that were carried. Left out are: values that pickle can't send (requests
and connections lie in contexts; they aren't tried by value, which may take long) or that can't be unpickled there; variables
that are no attribute of a module and that nothing sent refers to, among them those of C code (decimal's); and sniffio's,
which says which loop runs *here*. What a job sets is seen in that job only.

Worker processes load this file by itself: it imports nothing of the runtime.
"""
from __future__ import annotations

import sys
from contextvars import Context, ContextVar

from .carry import PicklingError, flat, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_NOT_CARRIED = 'sniffio', 'glassloop'
_MAIN = '__main__', '__mp_main__'


def _is_main(item: tuple[str, object]) -> bool:
    return item[0] in _MAIN


class Names:
    """The names of context variables in this process, which are looked for once; and the twins that others' have here."""

    def __init__(self) -> None:
        self._known: dict[ContextVar[Any], tuple[str, str] | None] = {}
        self.twins: dict[tuple[str, str], ContextVar[Any]] = {}

    def of(self, variable: ContextVar[Any]) -> tuple[str, str] | None:
        """(module, attribute), or None if it is no attribute of a module. Of __main__ only if of no other module, which may
        be where __main__ has it from."""
        if variable not in self._known:
            for module_name, module in sorted(sys.modules.items(), key=_is_main):
                try:
                    attributes = object.__getattribute__(module, '__dict__')  # past lazy modules, which would be loaded
                except AttributeError:
                    continue
                for attribute, value in list(attributes.items()):
                    if type(value) is ContextVar:
                        self._known.setdefault(value, (module_name, attribute))
            self._known.setdefault(variable, None)
        return self._known[variable]

    def recipe(self, variable: ContextVar[Any]) -> tuple[Any, ...]:
        """The arguments of find() for it."""
        name = self.of(variable)
        if name is None:
            name = next((name for name, twin in self.twins.items() if twin is variable), ('', str(id(variable))))
        elif name[0] in _MAIN:
            name = '', name[1]  # the word itself would have pickle look for what is __main__'s
        else:
            return name
        try:
            return *name, variable.name, Context().run(variable.get)  # the default
        except LookupError:
            return *name, variable.name

    def find(self, module: str, attribute: str, label: str | None = None, *default: Any) -> ContextVar[Any]:
        """The variable of this name in this process. Raises what importing the module raises, AttributeError."""
        if label is None:
            from importlib import import_module

            return getattr(import_module(module), attribute)
        found = getattr(sys.modules.get('__main__'), attribute, None)
        if type(found) is ContextVar:
            return found
        twin = self.twins.get((module, attribute))
        if twin is None:
            twin = ContextVar(label, default=default[0]) if default else ContextVar(label)
            self.twins[module, attribute] = twin
        return twin

    def carried(self, context: Context, met: Iterable[ContextVar[Any]] = ()) -> list[bytes]:
        """What to send of a context, one piece for each variable. `met`: the variables that the call itself refers to."""
        pieces = []
        for variable, value in context.items():
            name = self.of(variable)
            if variable in met if name is None else name[0].partition('.')[0] not in _NOT_CARRIED:
                try:
                    pieces.append(flat((self.recipe(variable), value), True))
                except PicklingError:
                    continue  # left out, as said above
        return pieces

    def restore(self, pieces: Iterable[bytes]) -> None:
        """In the job's context: set what was carried."""
        for piece in pieces:
            try:
                recipe, value = loads(piece, ())
                variable = self.find(*recipe)
            except Exception:
                continue  # left out, as said above
            variable.set(value)


#: of this process: a variable's name, and its twins, are a matter of the process
names = Names()


def find(*recipe: Any) -> ContextVar[Any]:
    """Called by name where a ContextVar that travelled by value is unpickled."""
    return names.find(*recipe)
