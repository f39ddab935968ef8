"""Many commands in a row, each in a fork of a process that has loaded everything already.

    with Warm() as warm:
        done = warm.run("info", "--json", cwd=tmp_path)

A process of its own takes two seconds to load torch; a fork of one that has takes none. What a run
prints, returns and writes is the same, except that modules are loaded before it begins.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

LOADED = (
    *("librosa.feature", "plotly.graph_objects", "polars", "rich.progress", "soundfile", "soxr"),
    *("tokenizers", "torch._dynamo", "throughtime.commands.fit", "throughtime.deploy.prediction"),
    *("throughtime.problems.registry", "throughtime.comparison.trials"),
    *(
        "throughtime.problems.forecasting.inspection",
        "throughtime.report.inspection",
        "throughtime.report.page",
    ),
)
LIMIT = 100  # seconds of a run; a longer one is killed, and its return code is -9


class Done(NamedTuple):
    """How a run ended."""

    returncode: int
    stdout: str
    stderr: str


class Warm:
    """A process that forks for every run."""

    def __init__(self, prefix: Sequence[str] = (), **environment: str | None) -> None:
        """``prefix``: the program, with its options, that starts it; None unsets a variable."""
        self._folder = TemporaryDirectory()
        Path(self._folder.name).chmod(0o777)  # another user may run in it
        self._environment = {"COLUMNS": "120", **environment}
        given = {**os.environ, **self._environment}
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in given.items() if value is not None},
        )

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def seen(self, path: Path) -> Path:
        """A path as that process sees it, whose disks may be its own."""
        return Path(f"/proc/{self._process.pid}/root{path}")

    def run(
        self,
        *arguments: object,
        cwd: Path,
        streams: Sequence[str | None] = (),
        **environment: str | None,
    ) -> Done:
        """One command, to its end.

        ``streams``: files for its standard output and error instead; None: closed.
        """
        own = [f"{self._folder.name}/{name}" for name in ("out", "err")]
        order = {
            "arguments": list(map(str, arguments)),
            "cwd": str(cwd),
            "streams": list(streams or own),
            "environment": {**os.environ, **self._environment, **environment},
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        texts = [Path(stream).read_text(errors="surrogateescape") for stream in own if not streams]
        texts += ["", ""] * bool(streams)
        return Done(code, *texts)


def _serve() -> None:
    for module in LOADED:
        import_module(module)
    from throughtime.cli import main

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            os.setsid()  # a late one is ended with all its workers
            os.chdir(order["cwd"])
            os.environ.clear()
            os.environ.update({n: v for n, v in order["environment"].items() if v is not None})
            _attach(order["streams"])
            sys.argv = ["throughtime", *order["arguments"]]
            code = 70
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        deadline = time.monotonic() + LIMIT
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.005)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _attach(streams: Sequence[str | None]) -> None:
    """Nothing to read; what is written goes to these files, or finds its stream closed."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, start=1):
        if stream is not None:
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    for number, stream in enumerate(streams, start=1):
        if stream is None:
            os.close(number)


if __name__ == "__main__":
    _serve()
