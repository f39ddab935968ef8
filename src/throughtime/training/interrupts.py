"""Deferred signals: the first Ctrl-C finishes the current step, the second acts immediately."""

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def held_back(within: float = 0.0) -> Generator[Callable[[], int]]:
    """Defer SIGINT (Ctrl-C) and SIGTERM.

    Yields a function that returns the number of the signal received, or 0.

    >>> with held_back() as received:
    ...     for batch in batches:
    ...         step(batch)
    ...         if received():
    ...             break

    A second signal has its usual effect, unless it arrives less than ``within`` seconds after the
    first: it then counts as a duplicate. Outside the main thread nothing is deferred, because
    Python delivers signals only to the main thread.
    """
    came, at = 0, 0.0
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _: object) -> None:
        nonlocal came, at
        if not came:
            came, at = number, time.monotonic()
        elif time.monotonic() - at >= within:
            for one, handler in before.items():
                signal.signal(one, handler)
            signal.raise_signal(number)

    for one in before:
        signal.signal(one, remember)
    try:
        yield lambda: came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
