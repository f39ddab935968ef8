"""Readers under bytes that nobody wrote: each reads them, or raises InputError, and nothing else.

    python tests/data/fuzz_readers.py ts -max_total_time=60  # by atheris; npz, csv, text, wav too

`test_fuzz.py` does the same with hypothesis, for a short time.
"""

import io
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    import atheris  # pip install atheris
else:
    atheris = None


with nullcontext() if atheris is None else atheris.instrument_imports(include=["throughtime.data"]):
    from throughtime.data.audio.recordings import features_of, read_recording
    from throughtime.data.opening import open_problem
    from throughtime.data.text.documents import text_problem
    from throughtime.data_options import DataOptions
    from throughtime.errors import InputError

TS = "# x\n@problemName x\n@univariate false\n@classLabel true 1 2\n@data\n" + "".join(
    f"{k},2,{k % 3}:1,?,3:{1 + k % 2}\n" for k in range(12)
)
CSV = "g,t,x,y\n" + "".join(
    f"{k // 25},2024-01-{1 + k % 25:02},{k}.5,{'ab'[k // 25 % 2]}\n" for k in range(500)
)


def _npz():
    buffer = io.BytesIO()
    x, lengths = np.arange(240.0).reshape(120, 2), np.full(40, 3)
    np.savez(buffer, x=x, lengths=lengths, y=np.arange(40) % 2)
    return buffer.getvalue()


def _wav():
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(300)), 8000, format="WAV")
    return buffer.getvalue()


SEEDS = {
    "ts": TS.encode,
    "npz": _npz,
    "csv": CSV.encode,
    "text": ("abc def\n" * 200).encode,
    "wav": _wav,
}


def read(kind, raw, folder):
    """Whether these bytes were read. Whatever else is raised is a fault."""
    ending = {"text": "txt"}.get(kind, kind)
    path = folder / f"x.{ending}"
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if kind == "wav":
                settings = DataOptions()
                found = features_of(read_recording(path, raw, settings), settings)
                assert np.isfinite(found).all()
            elif kind == "text":
                text_problem(path, DataOptions())
            elif kind == "csv":
                open_problem(path, DataOptions(label="y", group="g", missing="mask"))
                open_problem(path, DataOptions(target=("x",), group="g", missing="mask"))
            else:
                open_problem(path, DataOptions(missing="mask"))
        except InputError as error:
            assert "\n" not in str(error)
            return False
    return True


def main():
    kind = sys.argv.pop(1)
    folder = Path(tempfile.mkdtemp())
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(SEEDS[kind]())
    atheris.Setup([*sys.argv, str(corpus)], lambda raw: read(kind, raw, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
