"""Trials side by side in processes; in order in this one where one job is asked for."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from throughtime.catalogue import register_network, registered
from throughtime.errors import LostWorkerError
from throughtime.nn.outputs import register_output, registered_outputs

# what a worker process is given once, at its start
_shared: dict[str, Any] = {}


def run_side_by_side(
    run: Callable[..., Any],
    experiment: Any,
    settings: Any,
    folder: Path,
    specs: list[Any],
    jobs: int,
    tell: Callable[[Any, Any, int], None],
) -> Iterator[tuple[Any, Any]]:
    """Yield (spec, result) of ``run(experiment, settings, folder, spec, watch)`` as they are done.

    ``tell(spec, epoch, number)`` is called, always in this process, for every epoch of a run.
    """
    jobs = min(jobs, len(specs))
    if jobs < 2:
        for spec in specs:
            count = 0

            def watch(epoch: Any, spec: Any = spec) -> None:
                nonlocal count
                count += 1
                tell(spec, epoch, count)

            yield spec, run(experiment, settings, folder, spec, watch)
        return

    context = multiprocessing.get_context("spawn")
    with safe_path():
        messages: Any = context.Queue()
    listener = threading.Thread(target=_listen, args=(messages, tell), daemon=True)
    listener.start()
    shared = {"run": run, "arguments": (experiment, settings, folder), "messages": messages}
    # the caller's own kinds and outputs, by value where they are of its script or notebook
    own = cloudpickle.dumps((registered(), registered_outputs()))
    pool = ProcessPoolExecutor(jobs, context, _begin, (shared, own))
    try:
        futures: dict[Future[Any], Any] = {}
        with deaf_to_interrupts(), safe_path(), _without_main():
            for spec in specs:
                futures[pool.submit(_work, spec)] = spec
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise LostWorkerError(
            "a worker process ended too early (killed? memory short?); what is done is kept: run "
            "the same command again, with a lower --jobs to need less memory"
        ) from None
    except BaseException:
        # stop at once: what is half done will be done anew
        own = list((pool._processes or {}).values())  # pyright: ignore[reportPrivateUsage]
        pool.shutdown(wait=False, cancel_futures=True)
        for process in own:  # no others: the caller may have some
            process.terminate()
        raise
    finally:
        pool.shutdown()
        messages.put(None)
        listener.join()
        messages.close()


@contextmanager
def safe_path() -> Generator[None]:
    """Python processes started here do not look for modules in the current folder.

    They are started by `python -c`, which would: a file `struct.py` among the user's data would be
    run. What the path of this process holds they are given after their start.
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
    """Processes started here do not run the caller's script again.

    multiprocessing imports the module `__main__` of its parent, for what it may be sent of it; a
    script without ``if __name__ == "__main__"`` would then compare once more in each worker.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextmanager
def deaf_to_interrupts() -> Generator[None]:
    """Processes and threads started here never hear Ctrl-C, from their first instruction on.

    A terminal sends it to every process; the parent alone ends the workers and says what there is
    to say. This process gets what came meanwhile at the end: not in the midst of telling a worker
    what it needs to start.
    """
    came: list[int] = []
    mine = threading.current_thread() is threading.main_thread()
    # the mask is inherited; but a thread that is older may still hear it for this process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if mine else None
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
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
    """A parent that was killed could not say so: watch for its end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(spec: Any) -> Any:
    count = 0

    def watch(epoch: Any) -> None:
        nonlocal count
        count += 1
        _shared["messages"].put((spec, epoch, count))

    return _shared["run"](*_shared["arguments"], spec, watch)


def _listen(messages: Any, tell: Callable[[Any, Any, int], None]) -> None:
    while (message := messages.get()) is not None:
        tell(*message)
