"""Files from far away, whole and checked; a part that is there already is gone on from."""

import logging
from pathlib import Path
from typing import Any

from throughtime.errors import InputError

_TIMEOUT = 30  # seconds without a byte
_PIECE = 1 << 16


def fetched(url: str, folder: Path, checksum: str, size: int) -> Path:
    """A file's path in `folder`, fetched by pooch unless it is there and as it should be.

    ``checksum``: "sha256:..." or "md5:...", or nothing where it is checked elsewhere. ``size``:
    bytes at most; a longer answer is cut there and thrown away. Raises InputError where there is no
    connection, or it is another file.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    name = url.rsplit("/", 1)[1]
    resuming: Any = _Resuming(folder / name, size)
    try:
        found = pooch.retrieve(url, checksum or None, fname=name, path=folder, downloader=resuming)
    except requests.RequestException as error:
        raise InputError(
            url,
            f"cannot be fetched ({type(error).__name__})",
            "check the connection, and run it again: it goes on where it was; or get the file "
            "elsewhere and name its folder with --from",
        ) from None
    except _TooLongError:
        (folder / f"{name}.part").unlink(missing_ok=True)
        raise InputError(
            url, f"more than the {size:,} bytes that it should be", "get it elsewhere, with --from"
        ) from None
    except ValueError:
        (folder / f"{name}.part").unlink(missing_ok=True)
        raise InputError(
            url, "not the file it should be (its checksum differs)", "run it again"
        ) from None
    return Path(found)


class _TooLongError(Exception):
    """The answer goes on where the file should have ended."""


class _Resuming:
    """Fetches into a file beside the one that is asked for, and goes on where that ended."""

    def __init__(self, path: Path, size: int) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.size = size

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        import requests

        self.part.parent.mkdir(parents=True, exist_ok=True)
        there = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={there}-"} if there else {}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                there = 0  # more is there than there should be
                self.part.unlink()
                raise requests.ConnectionError("the part that was there did not fit")
            answer.raise_for_status()
            going_on = answer.status_code == requests.codes.partial_content
            with self.part.open("ab" if going_on else "wb") as file:
                left = self.size - file.tell()
                for piece in answer.iter_content(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise _TooLongError
                    file.write(piece)
        content = self.part.read_bytes()
        if hasattr(output_file, "write"):
            output_file.write(content)
        else:
            Path(output_file).write_bytes(content)
        self.part.unlink()
