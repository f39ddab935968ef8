"""Load librosa without running code from the current folder and without a home folder."""

import atexit
import os
import shutil
import sys
import tempfile
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from throughtime.files import cache_home
from throughtime.output_guard import can_be_written

_one_at_a_time = threading.Lock()


def load_librosa() -> Any:
    """Load librosa; its compiler (numba) ignores settings and code in the current folder."""
    with _one_at_a_time:
        return _loaded()


@cache
def _loaded() -> Any:
    # numba reads .numba_config.yaml in the current folder, which may name a folder of code to run
    yaml = sys.modules.get("yaml")
    sys.modules["yaml"] = None  # pyright: ignore[reportArgumentType] - marks it absent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba warns that it cannot read the file
            from numba.core import config  # pyright: ignore[reportMissingImports]
    finally:
        del sys.modules["yaml"]
        if yaml is not None:
            sys.modules["yaml"] = yaml
    config._config_fname = ""  # pyright: ignore[reportPrivateUsage] - read again at each compilation
    import librosa

    give_numba_a_place(Path(librosa.__file__).parent)
    config.reload_config()  # numba has already read the environment
    return librosa


def give_numba_a_place(package: Path) -> None:
    """Give numba a private cache folder for this process if it has no writable one.

    Without a cache folder numba fails (no home folder, and a package that is not writable). The
    folder must not be writable by others, because numba runs the code that it caches.
    """
    home = cache_home()
    usual = [package / "core" / "__pycache__"] + ([home] if home is not None else [])
    if "NUMBA_CACHE_DIR" not in os.environ and not any(map(can_be_written, usual)):
        place = tempfile.mkdtemp(prefix="throughtime-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = place
