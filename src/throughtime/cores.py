"""Number of processor cores available to this process."""

import os


def usable_cores() -> int:
    """Return the number of cores this process may run on; all cores if the system does not tell."""
    if hasattr(os, "sched_getaffinity"):  # not available on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
