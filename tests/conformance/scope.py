"""Tests of what the runtime doesn't have yet: they are not run (`--all` runs them too).

Each entry goes away with the piece of work that brings the thing.
"""

from __future__ import annotations

from lists import Entry

TLS = "needs TLS"
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
    Entry("test_sendfile.*", SENDFILE),
)
