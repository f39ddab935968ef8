"""Parallel trials in worker processes; with one job, in order in this process."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from throughtime.catalogue import register_network, registered
from throughtime.errors import LostWorkerError
from throughtime.nn.outputs import register_output, registered_outputs

# data that a worker process receives once, at its start
_shared: dict[str, Any] = {}


RunAll = Callable[[list[Any]], Iterator[tuple[Any, Any]]]


@contextmanager
def side_by_side(
    run: Callable[..., Any],
    experiment: Any,
    settings: Any,
    folder: Path,
    jobs: int,
    report: Callable[[Any, Any], None],
) -> Generator[RunAll]:
    """Yield a function that runs trials in parallel and yields (trial, result) as each finishes.

    The worker processes stay between its calls. A result is that of
    ``run(experiment, settings, folder, trial, watch)``. At every evaluation,
    ``report(trial, evaluation)`` is called in this process.
    """
    if jobs < 2:

        def in_order(trials: list[Any]) -> Iterator[tuple[Any, Any]]:
            for trial in trials:
                yield trial, run(experiment, settings, folder, trial, partial(report, trial))

        yield in_order
        return

    context = multiprocessing.get_context("spawn")
    with safe_path():
        messages: Any = context.Queue()
    no_more = threading.Event()
    listener = threading.Thread(target=_listen, args=(messages, report, no_more), daemon=True)
    listener.start()
    shared = {"run": run, "arguments": (experiment, settings, folder), "messages": messages}
    # registered kinds and outputs, by value if defined in a script or notebook
    own = cloudpickle.dumps((registered(), registered_outputs()))
    pool = ProcessPoolExecutor(jobs, context, _begin, (shared, own))

    def in_parallel(trials: list[Any]) -> Iterator[tuple[Any, Any]]:
        futures: dict[Future[Any], Any] = {}
        with blocked_interrupts(), safe_path(), _without_main():
            for trial in trials:
                futures[pool.submit(_work, trial)] = trial
        for future in as_completed(futures):
            yield futures[future], future.result()

    try:
        yield in_parallel
    except BrokenProcessPool:
        raise LostWorkerError(
            "a worker process ended unexpectedly (killed, or out of memory); finished trials are "
            "kept: run the same command again, with a lower --jobs to use less memory"
        ) from None
    except BaseException:
        # stop immediately: unfinished trials are run again later
        own = list((pool._processes or {}).values())  # pyright: ignore[reportPrivateUsage]
        pool.shutdown(wait=False, cancel_futures=True)
        for process in own:  # only these: the caller may have processes of its own
            process.terminate()
        raise
    finally:
        pool.shutdown()
        no_more.set()
        listener.join()
        messages.close()


@contextmanager
def safe_path() -> Generator[None]:
    """Keep Python processes started here from importing modules of the current folder.

    They are started by `python -c`, which searches that folder: a file `struct.py` among the user's
    data would be run. After their start they receive the module path of this process.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _without_main() -> Generator[None]:
    """Keep processes started here from running the caller's script again.

    multiprocessing imports the parent's module `__main__` to unpickle objects from it. A script
    without ``if __name__ == "__main__"`` would then start a comparison in each worker.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextmanager
def blocked_interrupts() -> Generator[None]:
    """Block SIGINT (Ctrl-C) in processes and threads started here, from their first instruction.

    A terminal sends the signal to every process, but only the parent ends the workers and reports.
    A signal that arrives within the block is delivered to this process at its end, so that it does
    not interrupt sending start-up data to a worker.
    """
    received: list[int] = []
    in_main_thread = threading.current_thread() is threading.main_thread()
    # the mask is inherited, but an older thread may still receive the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = (
        signal.signal(signal.SIGINT, lambda number, _: received.append(number))
        if in_main_thread
        else None
    )
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if received:
            signal.raise_signal(signal.SIGINT)


def _begin(shared: dict[str, Any], own: bytes) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kinds, outputs = cloudpickle.loads(own)
    for kind in kinds:
        register_network(kind)
    for output in outputs:
        register_output(output)
    _shared.update(shared)


def _end_with_parent() -> None:
    """End this worker when the parent ends; a killed parent cannot notify its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(trial: Any) -> Any:
    def watch(evaluation: Any) -> None:
        _shared["messages"].put((trial, evaluation))

    return _shared["run"](*_shared["arguments"], trial, watch)


def _listen(messages: Any, report: Callable[[Any, Any], None], no_more: threading.Event) -> None:
    """Report what workers send, until ``no_more`` is set and the queue is empty.

    This process never writes to the queue itself: a worker that was killed while it wrote holds the
    queue's lock forever.
    """
    while True:
        last = no_more.is_set()
        try:
            while True:
                report(*messages.get(timeout=0.1))
        except queue.Empty:
            if last:
                return
