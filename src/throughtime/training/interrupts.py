"""Ctrl-C once: what is being done is finished; twice: at once."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def held_back() -> Generator[Callable[[], int]]:
    """Ctrl-C and SIGTERM are remembered; calling what is given tells the signal, 0 for none.

    >>> with held_back() as asked:
    ...     for batch in batches:
    ...         step(batch)
    ...         if asked():
    ...             break

    A second signal does what the first would have done. In a thread that is not the main one
    nothing is held back: signals go elsewhere.
    """
    came = 0
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _: object) -> None:
        nonlocal came
        came = number
        for one, handler in before.items():
            signal.signal(one, handler)

    for one in before:
        signal.signal(one, remember)
    try:
        yield lambda: came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
