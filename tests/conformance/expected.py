"""Tests that fail on the runtime, each with the reason: the strict list.

A test on it that passes is an unexpected pass and fails the run. The list is for tests of CPython's private
parts and for differences that are meant; it is not for faults.
"""

from __future__ import annotations

from lists import EVERY_BUILD, Entry

BASE_LOOP = "test_base_events.BaseEventLoopTests."
WHOLE = ("whole",)

EXPECTED = (
    # CPython's loop seen from inside
    Entry(BASE_LOOP + "test__*", "calls _add_callback() and _run_once(), looks into _scheduled and _ready"),
    Entry(BASE_LOOP + "test_call_soon", "looks for the handle in loop._ready, a deque"),
    Entry(BASE_LOOP + "test_call_later", "looks for the handle in loop._scheduled, a list"),
    Entry(BASE_LOOP + "test_not_implemented", "calls BaseEventLoop's private hooks for its subclasses"),
    Entry(BASE_LOOP + "test_run_forever_pre_stopped", "counts the calls of a mock in the selector's place"),
    Entry(BASE_LOOP + "test_single_selecter_event_*", "feeds events through a mock in the selector's place"),
    Entry(BASE_LOOP + "test_custom_run_forever_*", "calls _run_forever_setup() and _run_once()", since=(3, 13)),
    Entry("test_events.EventLoopTests.test_timeout_rounding", "counts the calls of a replaced loop._run_once"),
    Entry(
        BASE_LOOP + "test_create_connection_happy_eyeballs*",
        "connects mocks in the place of sockets, and looks for one in transport._sock",
        since=(3, 15),
    ),
    Entry(
        "test_events.EventLoopTests.test_create_server_multiple_hosts_ipv?",
        "replaces the socket module of asyncio.base_events and loop._start_serving by mocks",
    ),
    Entry(
        "test_subprocess.*.test_pause_reading",
        "replaces loop.connect_read_pipe and methods of the pipe's transport by mocks",
    ),
    Entry(
        "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data*",
        "fills the write backlog through a private method of asyncio's transport that is there for the test",
    ),
    Entry(
        "test_subprocess.SubprocessTests.test_subprocess_*_pipe_cancelled",
        "replaces loop.connect_read_pipe and connect_write_pipe by mocks",
        since=(3, 14),
    ),
    # differences that are meant
    Entry(
        "test_events.EventLoopTests.test_datagram_write_error_close_from_callback",
        "a datagram that is given to a closed transport is not sent, also when it was closed by error_received()",
        since=(3, 14),
    ),
    Entry(
        "test_sslproto.SelectorStartTLSTests.test_start_tls_failed_certificate_no_cycles",
        "interpreted, frames of Python stand in the traceback and hold the transport: it is freed by the next collection",
        since=(3, 14),
        builds=("interpreted",),
    ),
    Entry(
        "test_futures2.OwnTaskTests.test_task_exc_handler_correct_context",
        "interpreted, a frame of Python that made the step keeps the task until the next collection",
        since=(3, 12),
        until=(3, 13),
        modes=WHOLE,
        builds=("interpreted",),
    ),
    Entry(
        "test_taskgroups.*.test_exception_refcycles_propagate_cancellation_error",
        "interpreted, the frame of Python that throws the cancellation into the task still runs, and names it",
        since=(3, 14),
        modes=WHOLE,
        builds=("interpreted",),
    ),
    Entry(
        "test_tasks.OwnTask_*.test_log_destroyed_pending_task",
        "a pending task is held by its loop: it can't be destroyed while it waits",
        modes=WHOLE,
    ),
    # what newer Python does, on every version
    Entry(
        "test_tasks.*.test_proper_refcounts",
        "a context that is none is refused when the task is made, as from 3.15",
        since=(3, 14),
        until=(3, 14),
        modes=WHOLE,
    ),
    Entry(
        "test_base_events.BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_wrong_sock",
        "the message speaks of a datagram socket, as from 3.13; there may be others than UDP's",
        until=(3, 12),
    ),
    Entry(
        "test_unix_events.SelectorEventLoopUnixSocketTests.test_create_unix_server_path_stream_bittype",
        "a Unix server takes its socket's file away when it is closed, as from 3.13; the test does it itself",
        until=(3, 11),
    ),
    Entry(
        "test_futures2.FutureReprTests.test_recursive_repr_*",
        "wait_for() awaits a coroutine in the caller's task, as from 3.12; the test counts on a task of its own",
        until=(3, 11),
        modes=WHOLE,
    ),
    Entry(
        "test_waitfor.AsyncioWaitForTest.test_wait_for_self_cancellation",
        "wait_for() passes a cancellation on at once, as from 3.12",
        until=(3, 11),
        modes=WHOLE,
    ),
    Entry(
        "test_futures.Own*FutureTests.test_exception",
        "set_exception(StopIteration) sets a RuntimeError, as from 3.12.6",
        since=(3, 12),
        until=(3, 12, 5),
        modes=WHOLE,
    ),
    *(
        Entry(
            f"test_taskgroups.TestTaskGroup.test_taskgroup_{name}",
            "a coroutine that create_task() refuses is closed, as from 3.13; the test awaits it",
            until=(3, 12),
            modes=WHOLE,
        )
        for name in ("finished", "not_entered", "without_parent_task", "no_create_task_after_failure")
    ),
    *(
        Entry(
            f"test_tasks.*.test_as_completed_{name}",
            "as_completed() refuses wrong arguments at the call, as from 3.13",
            until=(3, 12),
            modes=WHOLE,
        )
        for name in ("coroutine_without_loop", "invalid_args")
    ),
    Entry(
        "test_runners.RunnerTests.test_run_future",
        "Runner.run() takes any awaitable, as from 3.14",
        until=(3, 13),
        modes=WHOLE,
    ),
    Entry(
        "test_tasks.OwnTask_*.test_context_already_entered_leaves_loop_usable",
        "an eager task whose context is entered already ends with the RuntimeError that the test expects of Task()",
        since=(3, 15),
        modes=WHOLE,
    ),
    Entry(
        "test_tasks.OwnIntrospectionTests.test_register_task_resurrection",
        "wants an AttributeError for a loop that is none; ours refuses it with a TypeError",
        since=(3, 14),
        modes=WHOLE,
    ),
    *(
        Entry(
            f"test_graph.OwnCallStackTests.test_stack_{name}",
            "wants the frames of asyncio's own coroutines in the call stack; ours have none",
            since=(3, 14),
            modes=WHOLE,
            builds=builds,
        )
        for name, builds in (
            ("as_completed*", EVERY_BUILD),
            ("tgroup", EVERY_BUILD),
            ("wait", EVERY_BUILD),
            ("wait_for_non_positive_timeout", ("compiled",)),
        )
    ),
    # asyncio's parts seen from inside
    Entry(
        "test_streams.StreamTests.test_start_tls_buffered_data",
        "calls the reader's _wait_for_data(), which the runtime's reader doesn't have",
        since=(3, 14),
        modes=WHOLE,
    ),
    Entry(
        "test_futures.Own*FutureDoneCallbackTests.test_use_after_free_on_fut_*_0_with_evil__getattribute__",
        "replaces loop.call_soon, which the runtime's futures don't go through",
        since=(3, 14),
        modes=WHOLE,
    ),
    Entry(
        "test_tasks.OwnTask_*.test_error_in_call_soon",
        "replaces loop.call_soon, which the runtime's tasks don't go through",
        modes=WHOLE,
    ),
    Entry(
        "test_tasks.*.test_sleep_cancel",
        "replaces loop.call_later to catch the handle that sleep() makes; the runtime's sleep() makes none",
        modes=WHOLE,
    ),
    Entry(
        "test_tasks.*.test_stop_while_run_in_complete",
        "expects the time of CPython's TestLoop, which goes on once more after stop()",
        modes=WHOLE,
    ),
    *(
        Entry(
            f"test_events.{name}",
            "makes handles by hand, calls _run(), reads _args and _when; ours are made by a loop only",
            modes=WHOLE,
        )
        for name in ("HandleTests.test_callback_with_exception", "HandleTests.test_handle", "TimerTests.*")
    ),
    Entry(
        "test_locks.LockTests.test_lock_doesnt_accept_loop_parameter",
        "wants the error that the interpreter words for a class of plain Python",
        modes=WHOLE,
        builds=("compiled",),
    ),
)
