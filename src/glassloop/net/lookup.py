"""getaddrinfo() as an awaitable: what needs no lookup is answered without a thread, and without a system call.

`at_once()` answers for an IPv4 or IPv6 address in its usual form with a number for the port and a type of socket: the one
entry that the system would give. A host that is an address in another form, or none, is the system's to read, asked not
to look it up. Everything else goes to the resolver's threads (resolve.py).
"""
import socket
from _socket import inet_ntop, inet_pton

from ..core.leaf import Op

_IPV4 = socket.AF_INET
_IPV6 = socket.AF_INET6
_STREAM = socket.SOCK_STREAM
_DATAGRAM = socket.SOCK_DGRAM
_TCP = socket.IPPROTO_TCP
_UDP = socket.IPPROTO_UDP

# all flags but those that change nothing about an address; plain numbers, as an enumeration's are slow to reckon with
_REFUSED = ~int(socket.AI_PASSIVE | socket.AI_NUMERICHOST | getattr(socket, 'AI_NUMERICSERV', 0))

_ENTRY = ((_STREAM, int(_TCP)), (_DATAGRAM, int(_UDP)))
_BY_FAMILY = (int(_IPV4), int(_IPV6), int(_STREAM), int(_DATAGRAM))


def at_once(host, port, family, type_, proto, flags):
    """The one entry of getaddrinfo(), in a list, where host is an address; None if it is for the system to say."""
    if type(host) is not str or type(port) is not int or not 0 <= port <= 65535 or (flags and flags & _REFUSED):
        return None
    if type_ == _BY_FAMILY[2]:
        entry = _ENTRY[0]
    elif type_ == _BY_FAMILY[3]:
        entry = _ENTRY[1]
    else:
        return None
    if proto and proto != entry[1]:
        return None
    try:
        if ':' not in host:
            if family and family != _BY_FAMILY[0]:
                return None
            inet_pton(_BY_FAMILY[0], host)
            return [(_IPV4, entry[0], entry[1], '', (host, port))]
        if family and family != _BY_FAMILY[1]:
            return None
        host = inet_ntop(_BY_FAMILY[1], inet_pton(_BY_FAMILY[1], host))
        return [(_IPV6, entry[0], entry[1], '', (host, port, 0, 0))]
    except (OSError, ValueError):
        return None


def needs_no_lookup(host, port, flags):
    """True if host is missing, said to be numeric or looks like an address, and the port is no service's name."""
    if isinstance(port, (str, bytes)):
        if not port.isdigit():
            return False
    elif port is not None and not isinstance(port, int):
        return False
    if host is None or flags & socket.AI_NUMERICHOST:
        return True
    # '::1', 'fe80::1%eth0', '127.0.0.1', '127.1': no host's name has a colon or ends in a number
    if isinstance(host, bytes):
        host = host.decode('latin-1')
    return isinstance(host, str) and (':' in host or host.rpartition('.')[2][:1].isdigit())


class getaddrinfo(Op):
    __slots__ = ('_family', '_flags', '_host', '_port', '_proto', '_resolver', '_type')

    def _begin(self):
        resolver = self._resolver
        if resolver._loop._closed:
            raise RuntimeError('Event loop is closed')
        infos = at_once(self._host, self._port, self._family, self._type, self._proto, self._flags)
        if infos is None and needs_no_lookup(self._host, self._port, self._flags):
            numeric = self._flags if self._host is None else self._flags | socket.AI_NUMERICHOST
            try:
                infos = socket.getaddrinfo(self._host, self._port, self._family, self._type, self._proto, numeric)
            except socket.gaierror:
                if numeric == self._flags:
                    raise
                # it only looked like an address
        if infos is not None:
            self._value = infos
            return None
        args = self._host, self._port, self._family, self._type, self._proto, self._flags
        return resolver._submit(socket.getaddrinfo, args)


def lookup(resolver, host, port, family, type_, proto, flags):
    op = getaddrinfo.__new__(getaddrinfo)
    op._resolver = resolver
    op._host = host
    op._port = port
    op._family = family
    op._type = type_
    op._proto = proto
    op._flags = flags
    return op
