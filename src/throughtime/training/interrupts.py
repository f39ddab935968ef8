"""Ctrl-C once: what is being done is finished; twice: at once."""

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def held_back(within: float = 0.0) -> Generator[Callable[[], int]]:
    """Ctrl-C and SIGTERM are remembered; calling what is given tells the signal, 0 for none.

    >>> with held_back() as asked:
    ...     for batch in batches:
    ...         step(batch)
    ...         if asked():
    ...             break

    A second signal does what the first would have done, unless it comes ``within`` so many seconds:
    then it is the same once more. In a thread that is not the main one
    nothing is held back: signals go elsewhere.
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
