"""Download files, verify their checksums, and resume interrupted downloads."""

import logging
from pathlib import Path
from typing import Any

from throughtime.errors import InputError

_TIMEOUT = 30  # seconds without data
_PIECE = 1 << 16


def fetched(url: str, folder: Path, checksum: str, size: int) -> Path:
    """Download a file to `folder` with pooch, unless a valid copy exists, and return its path.

    ``checksum``: "sha256:..." or "md5:...", or empty if the caller checks the file. ``size``:
    maximum size in bytes; a longer download is stopped and deleted. Raises InputError if the
    download fails or the file differs from the expected one.
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
            f"the download failed ({type(error).__name__})",
            "check the connection and run the command again to resume, or copy the file from "
            "elsewhere and give its folder with --from",
        ) from None
    except _TooLongError:
        (folder / f"{name}.part").unlink(missing_ok=True)
        raise InputError(
            url,
            f"the file is larger than the expected {size:,} bytes",
            "copy the file from elsewhere and give its folder with --from",
        ) from None
    except ValueError:
        (folder / f"{name}.part").unlink(missing_ok=True)
        raise InputError(
            url, "the checksum differs from the expected one", "run the command again"
        ) from None
    return Path(found)


class _TooLongError(Exception):
    """The download is longer than the expected file."""


class _Resuming:
    """A pooch downloader that keeps a partial file and resumes from it."""

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
                there = 0  # the partial file is longer than the file
                self.part.unlink()
                raise requests.ConnectionError("the partial file did not match")
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
