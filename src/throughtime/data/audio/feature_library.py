"""librosa, loaded so that it runs nothing that lies in the current folder, and needs no home."""

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
    """The library, whose compiler (numba) takes neither settings nor code from outside."""
    with _one_at_a_time:
        return _loaded()


@cache
def _loaded() -> Any:
    # numba reads .numba_config.yaml in the current folder, which may name a folder of code to run
    yaml = sys.modules.get("yaml")
    sys.modules["yaml"] = None  # pyright: ignore[reportArgumentType] - Python's way to say: absent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it cannot read that file
            from numba.core import config  # pyright: ignore[reportMissingImports]
    finally:
        del sys.modules["yaml"]
        if yaml is not None:
            sys.modules["yaml"] = yaml
    config._config_fname = ""  # pyright: ignore[reportPrivateUsage] - it looks again whenever it compiles
    import librosa

    give_numba_a_place(Path(librosa.__file__).parent)
    config.reload_config()  # that place is in the environment, which numba has read already
    return librosa


def give_numba_a_place(package: Path) -> None:
    """Let numba keep its code in a folder of this process's alone, where it has no other place.

    It fails where it can keep nothing: no home, and a package that belongs to somebody else. Never
    a folder that others may write to, as what numba keeps is run.
    """
    home = cache_home()
    usual = [package / "core" / "__pycache__"] + ([home] if home is not None else [])
    if "NUMBA_CACHE_DIR" not in os.environ and not any(map(can_be_written, usual)):
        place = tempfile.mkdtemp(prefix="throughtime-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = place
