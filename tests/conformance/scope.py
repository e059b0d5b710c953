"""Tests of what the runtime doesn't have yet: they are not run (`--all` runs them too).

Each entry goes away with the piece of work that brings the thing.
"""

from __future__ import annotations

from lists import Entry

TLS = "needs TLS"
PIPES = "needs pipe transports"
SUBPROCESSES = "needs subprocesses"
SENDFILE = "needs sendfile"

SCOPE = (
    Entry("test_ssl.*", TLS),
    Entry("test_events.EventLoopTests.test_create_server_ssl", TLS),
    Entry("test_events.EventLoopTests.test_create_server_ssl_match_failed", TLS),
    Entry("test_events.EventLoopTests.test_create_server_ssl_verified", TLS),
    Entry("test_events.EventLoopTests.test_create_server_ssl_verify_failed", TLS),
    Entry("test_events.EventLoopTests.test_create_ssl_connection", TLS),
    Entry("test_events.EventLoopTests.test_create_ssl_unix_connection", TLS),
    Entry("test_events.EventLoopTests.test_create_unix_server_ssl*", TLS),
    Entry("test_events.EventLoopTests.test_ssl_connect_accepted_socket", TLS),
    Entry("test_streams.StreamTests.test_open_connection_no_loop_ssl", TLS),
    Entry("test_streams.StreamTests.test_open_unix_connection_no_loop_ssl", TLS),
    Entry("test_streams.StreamTests.test_start_tls*", TLS),
    Entry("test_events.EventLoopTests.test_bidirectional_pty", PIPES),
    Entry("test_events.EventLoopTests.test_read_p*", PIPES),
    Entry("test_events.EventLoopTests.test_unclosed_pipe_transport", PIPES),
    Entry("test_events.EventLoopTests.test_write_p*", PIPES),
    Entry("test_streams.StreamTests.test_read_all_from_pipe_reader", PIPES),
    Entry("test_subprocess.*", SUBPROCESSES),
    Entry("test_events.EventLoopTests.test_subprocess_*", SUBPROCESSES),
    Entry("test_base_events.BaseEventLoopTests.test_subprocess_*", SUBPROCESSES),
    Entry("test_unix_events.TestFork.test_fork_asyncio_subprocess", SUBPROCESSES, since=(3, 12)),
    Entry("test_sendfile.*", SENDFILE),
)
