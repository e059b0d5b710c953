"""What is run: the projects, where their tests come from, and what of them is left out.

A suite's requirements, with the project itself, are pinned in requirements/NAME.txt. What is left out is left out on
every loop, and each time for a reason; what fails on ours alone is the business of expected.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# a suite without a configuration for pytest would get ours, from further up
NO_CONFIGURATION = ("-c", "/dev/null", "--rootdir", ".")
DEBIAN = "https://deb.debian.org/debian/pool/main"


@dataclass(frozen=True)
class Source:
    """An archive with the tests: a source distribution on PyPI, or, where that has no tests, the file at `url`."""

    name: str
    version: str
    sha256: str
    url: str | None = None


@dataclass(frozen=True)
class Suite:
    name: str
    source: Source
    arguments: tuple[str, ...] = ()
    """For pytest, after our own."""
    expression: str = ""
    """For pytest's -k."""
    drop: tuple[str, ...] = ()
    """Folders of the archive that would hide the installed package."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(pattern over test ids, reason)."""
    left_out_without_ipv6_localhost: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Servers, see servers.py."""
    environment: dict[str, str] = field(default_factory=dict)
    test_limit: int = 30
    """Seconds for a test."""
    limit: int = 1200
    """Seconds for a run of the suite; a process that takes longer is killed, and what it hung in counts as failed."""


SUITES = (
    Suite(
        "anyio",
        Source("anyio", "4.16.0", "59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb"),
        expression="not trio",
        drop=("src",),
        left_out_without_ipv6_localhost=(
            "*ipv6*",
            "*test_happy_eyeballs*",
            "*test_connection_refused*multi*",
            "*test_tcp_listener_same_port*localhost*",
            "*test_tcp_listener_retry_after_partial_failure*",
            "*test_tcp_listener_total_bind_failure*",
        ),
        left_out=(("tests/test_sockets.py::test_getaddrinfo?asyncio?", "looks up a name of the outside world"),),
    ),
    Suite(
        "uvicorn",
        Source("uvicorn", "0.54.0", "a2e33cbfaa0306f8e6b0c13e0cb89d7d7a2da3e62b90c66e18c33d9807b28620"),
        ("-o", "addopts=--strict-markers", "-p", "no:xdist", "--ignore=tests/benchmarks"),
        drop=("uvicorn",),
    ),
    Suite(
        "websockets",
        Source(
            "websockets",
            "15.0.1",
            "8451495265af3e368f794c4dc15c99ce90c771d95560f542bff8c64b5455af3b",
            f"{DEBIAN}/p/python-websockets/python-websockets_15.0.1.orig.tar.gz",
        ),
        (*NO_CONFIGURATION, "tests/asyncio", "tests/legacy"),
        drop=("src",),
        left_out=(
            ("*HTTPProxyClientTests::test_https_proxy_invalid_server_certificate", "fails with this release of mitmproxy"),
        ),
    ),
    Suite("httpcore", Source("httpcore", "1.0.9", "6e34463af53fd2ab5d807f399a9b45ea31c3dfa2276f15a2c3f00afff6e176e8"), expression="not trio", drop=("httpcore",)),
    Suite(
        "httpx",
        Source("httpx", "0.28.1", "75e98c5f16b0f35b567856f597f06ff2270a374470a5c2392242528e3e3e42fc"),
        expression="not trio",
        drop=("httpx",),
        left_out=(
            ("tests/client/test_proxies.py::test_*_proxy_close*", "needs the outside world"),
            ("tests/test_main.py::test_download", "fails with this release of click"),
            ("tests/test_utils.py::test_logging_re*", "fails where uvicorn's access log is louder than it was"),
        ),
    ),
    Suite(
        "aiohttp",
        Source("aiohttp", "3.14.5", "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178"),
        ("-o", "addopts=", "-m", "not dev_mode and not autobahn and not internal", "-p", "no:xdist", "-p", "no:codspeed",
         "--ignore-glob=*test_benchmarks*"),
        drop=("aiohttp",),
        test_limit=60,
        limit=3600,
    ),
    Suite(
        "tornado",
        Source("tornado", "6.6.1", "28e6311402af59c8b02e3fa0f5e7d8eb465b25081381803b127d97e6a4395d5a"),
        (*NO_CONFIGURATION, "--pyargs", "tornado.test", "-o", "python_files=*_test.py", "-p", "no:unraisableexception"),
        drop=("tornado",),
        environment={"ASYNC_TEST_TIMEOUT": "15", "ECOSYSTEM_SILENT": "tornado.access"},
    ),
    Suite(
        "redis",
        Source("redis", "8.1.0", "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25"),
        ("tests/test_asyncio", "-m", "not onlycluster and not redismod and not ssl and not cp_integration "
         "and not multidb_integration", "--capture=sys", "--ignore=tests/test_asyncio/test_scenario"),
        drop=("redis",),
        left_out=(
            ("tests/test_asyncio/test_sentinel.py::test_get_*", "needs sentinels"),
            ("tests/test_asyncio/test_sentinel.py::test_redis_master_usage", "needs sentinels"),
            ("tests/test_asyncio/test_sentinel.py::test_sentinel_commands_with_strict_redis_client", "needs sentinels"),
            ("tests/test_asyncio/test_sentinel.py::test_himport_prepare_set_survives_reconnect", "needs sentinels"),
        ),
        needs=("redis",),
    ),
    Suite(
        "asyncpg",
        Source("asyncpg", "0.32.0", "45e64e56714d888330b884aad1dfb363d0bf43fb343e3d1a8968525f3bade478"),
        ("-o", "addopts=", "--import-mode=importlib", "--assert=plain", "--ignore=tests/test__sourcecode.py",
         "--ignore=tests/test__environment.py"),
        drop=("asyncpg",),
        left_out=(
            ("*ConnectionAttributes::test_prefer_standby_*", "starts and stops servers of its own"),
            ("*ConnectionAttributes::test_rejected_standby_*", "starts and stops servers of its own"),
            ("*ConnectionAttributes::test_target_*", "starts and stops servers of its own"),
        ),
        needs=("postgresql",),
        limit=1500,
    ),
)
