"""How many processor cores this process may use."""

import os


def usable_cores() -> int:
    """Cores that the system lets this process run on; all of them where it does not say."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
