"""Which transport has a descriptor.

A mapping that holds no transport alive: an abandoned one can be collected, and its entry is then worth nothing until the
descriptor's next owner replaces it. weakref.WeakValueDictionary does the same, at ten times the cost per connection.
"""
from weakref import ref


class Transports:
    """Descriptor -> transport."""

    __slots__ = ('_refs',)

    def __init__(self):
        self._refs = {}

    def __setitem__(self, fd, transport):
        self._refs[fd] = ref(transport)

    def __delitem__(self, fd):
        del self._refs[fd]

    def get(self, fd):
        """The transport that has this descriptor, or None."""
        found = self._refs.get(fd)
        return None if found is None else found()

    def values(self):
        """The transports that are there."""
        found = [entry() for entry in list(self._refs.values())]
        return [transport for transport in found if transport is not None]
