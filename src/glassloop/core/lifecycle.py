"""How a loop starts, runs, stops and ends: plain Python, since it runs once per start.

run_forever() saves and restores what it changes around the turns: the running loop, the hooks for asynchronous
generators, the tracking of coroutine origins, the signal wake-up descriptor, and what asyncio was told of the current
task. Not here: what a turn does (turn.py), and what close() frees of the parts above the core (loop.py).
"""
import asyncio
import signal
import sys
import threading
import traceback
import warnings
import weakref
from asyncio import constants, coroutines
from asyncio.log import logger

from . import visible

# What C code looks at, also where somebody has put another function in its place.
_set_running_loop = asyncio._set_running_loop


def _say_running(loop):
    asyncio._set_running_loop(loop)
    if asyncio._set_running_loop is not _set_running_loop:
        _set_running_loop(loop)


class Lifecycle:
    """The part of the loop that starts, runs and closes it. Mixed into EventLoop, beside Turn."""

    def _begin_life(self):
        self._exception_handler = None
        self._asyncgens = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._origin_tracking = False
        self._origin_depth = 0
        self._debug = coroutines._is_debug_mode()
        visible.watch(self)

    def __repr__(self):
        return (f'<{type(self).__name__} running={self.is_running()} '
                f'closed={self.is_closed()} debug={self.get_debug()}>')

    # ---- running ----

    def _check_closed(self):
        if self._closed:
            raise RuntimeError('Event loop is closed')

    def _check_running(self):
        if self.is_running():
            raise RuntimeError('This event loop is already running')
        if asyncio._get_running_loop() is not None:
            raise RuntimeError('Cannot run the event loop while another loop is running')

    def run_forever(self):
        """Run until stop(). Raises RuntimeError if this or another loop runs in this thread, or it is closed."""
        self._check_closed()
        self._check_running()
        self._track_origins(self._debug)
        hooks = sys.get_asyncgen_hooks()
        wakeup_fd = self._wake_on_signals()
        self._thread_id = threading.get_ident()
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_first, finalizer=self._asyncgen_final)
            _say_running(self)
            self._run_turns()
        finally:
            self._stopping = False
            if self._published is not None:
                self._forget_task()
            self._thread_id = None
            _say_running(None)
            self._track_origins(False)
            sys.set_asyncgen_hooks(*hooks)
            self._unwake_on_signals(wakeup_fd)

    def run_until_complete(self, future):
        """Run until the future (or coroutine, as a task) is done; returns its result or raises its exception. Raises
        RuntimeError if the loop was stopped before."""
        self._check_closed()
        self._check_running()
        new_task = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)
        if new_task:
            # an exception raised here is the caller's
            future._log_destroy_pending = False
        future.add_done_callback(_stop_loop_of)
        try:
            self.run_forever()
        except BaseException:
            if new_task and future.done() and not future.cancelled():
                # the coroutine raised a BaseException; the local task is retrieved to keep the log quiet
                future.exception()
            raise
        finally:
            future.remove_done_callback(_stop_loop_of)
        if not future.done():
            raise RuntimeError('Event loop stopped before Future completed.')
        return future.result()

    def _wake_on_signals(self):
        """A signal that comes between the interpreter's last check and the poller's sleep must still wake it. Returns
        what to put back, None where nothing was changed: not the main thread, or somebody else listens."""
        if threading.current_thread() is not threading.main_thread():
            return None
        ours = self._waker.write_fd()
        # a signal that finds no room is lost only to a handler: without one any byte will do to wake
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=self._signals_wanted())
        if before in (-1, ours):
            return before
        signal.set_wakeup_fd(before)
        return None

    def _unwake_on_signals(self, before):
        if before == -1 and not self._signals_wanted():
            signal.set_wakeup_fd(-1)

    def _signals_wanted(self):
        """True while signal handlers need the wake-up descriptor between runs."""
        return False

    # ---- asynchronous generators ----

    def _asyncgen_first(self, agen):
        if self._asyncgens_shutdown_called:
            warnings.warn(f'asynchronous generator {agen!r} was scheduled after loop.shutdown_asyncgens() call',
                          ResourceWarning, source=self)
        self._asyncgens.add(agen)

    def _asyncgen_final(self, agen):
        self._asyncgens.discard(agen)
        if not self._closed:
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self):
        """Close all asynchronous generators that were started on this loop and are not finished."""
        self._asyncgens_shutdown_called = True
        if not len(self._asyncgens):
            return
        closing = list(self._asyncgens)
        self._asyncgens.clear()
        results = await asyncio.gather(*[agen.aclose() for agen in closing], return_exceptions=True)
        for result, agen in zip(results, closing):
            if isinstance(result, Exception):
                self.call_exception_handler({
                    'message': f'an error occurred during closing of asynchronous generator {agen!r}',
                    'exception': result,
                    'asyncgen': agen,
                })

    # ---- debug mode ----

    def set_debug(self, enabled):
        """Turn debug mode on or off (thread checks, slow callbacks, origins of coroutines and handles)."""
        self._debug = bool(enabled)
        if self.is_running():
            self.call_soon_threadsafe(self._track_origins, enabled)

    def _track_origins(self, enabled):
        enabled = bool(enabled)
        if enabled == self._origin_tracking:
            return
        if enabled:
            self._origin_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(constants.DEBUG_STACK_DEPTH)
        else:
            sys.set_coroutine_origin_tracking_depth(self._origin_depth)
        self._origin_tracking = enabled

    # ---- exceptions that reach the loop ----

    def get_exception_handler(self):
        """The handler set, or None for the default one."""
        return self._exception_handler

    def set_exception_handler(self, handler):
        """handler(loop, context) gets what call_exception_handler() is told; None: the default. TypeError if it is not
        callable."""
        if handler is not None and not callable(handler):
            raise TypeError(f'A callable object or None is expected, got {handler!r}')
        self._exception_handler = handler

    def default_exception_handler(self, context):
        """Log the context at level ERROR on the logger 'asyncio'."""
        message = context.get('message') or 'Unhandled exception in event loop'
        exception = context.get('exception')
        exc_info = False if exception is None else (type(exception), exception, exception.__traceback__)
        lines = [message]
        for key in sorted(context):
            if key in {'message', 'exception'}:
                continue
            value = context[key]
            if key in ('source_traceback', 'handle_traceback'):
                stack = ''.join(traceback.format_list(value))
                origin = 'Object' if key == 'source_traceback' else 'Handle'
                lines.append(f'{key}: {origin} created at (most recent call last):\n{stack.rstrip()}')
            else:
                lines.append(f'{key}: {_safe_repr(value)}')
        logger.error('\n'.join(lines), exc_info=exc_info)

    def call_exception_handler(self, context):
        """Report an exception that nobody can catch. Never raises but for SystemExit and KeyboardInterrupt."""
        handler = self._exception_handler
        if handler is None:
            try:
                self.default_exception_handler(context)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                logger.error('Exception in default exception handler', exc_info=True)
            return
        try:
            run_in = None
            thing = context.get('task') or context.get('future') or context.get('handle')
            if thing is not None and hasattr(thing, 'get_context'):
                run_in = thing.get_context()
            if run_in is not None and hasattr(run_in, 'run'):
                run_in.run(handler, self, context)
            else:
                handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            try:
                self.default_exception_handler({
                    'message': 'Unhandled error in exception handler',
                    'exception': error,
                    'context': context,
                })
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                logger.error('Exception in default exception handler while handling an unexpected error in custom '
                             'exception handler', exc_info=True)

    # ---- the end ----

    def close(self):
        """Free everything. The loop must not be running; closing twice does nothing."""
        if self.is_running():
            raise RuntimeError('Cannot close a running event loop')
        if self._closed:
            return
        if self._debug:
            logger.debug('Close %r', self)
        self._closed = True
        self._close_parts()
        self._waker._want(0)
        self._waker.close()
        self._poller.close()
        self._clear_ready()
        self._timers_clear()
        self._drop_held()

    def _close_parts(self):
        """What the loop's other parts must free first."""

    def __del__(self):
        if not self._closed:
            warnings.warn(f'unclosed event loop {self!r}', ResourceWarning, source=self)
            if not self.is_running():
                self.close()

    def _forked(self):
        """In the child after a fork: nothing runs here, and no descriptor is shared with the parent's poller."""
        self._thread_id = None
        if not self._closed:
            self._waker.close()
            self._poller.close()
            self._poller.open(self)
            self._waker.open(self, self._poller)


def _stop_loop_of(future):
    if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
        return  # it went through run_forever() already
    future.get_loop().stop()


def _safe_repr(value):
    try:
        return repr(value)
    except Exception as error:
        return f'<{type(value).__name__} whose repr() raised {type(error).__name__}>'

