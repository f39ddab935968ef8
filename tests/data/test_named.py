"""Public data sets: fetched once, checked, gone on with, or pointed at."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from throughtime.data import named
from throughtime.data.archive import read_archive
from throughtime.data.fetching import fetched
from throughtime.data.named import NAMED, File, get, named_set
from throughtime.errors import InputError

pytest.importorskip("pooch")
SHARED = Path(__file__).parents[3] / "shared" / "data"
CONTENT = bytes(range(256)) * 4000


class Server(http.server.SimpleHTTPRequestHandler):
    """A server that knows ranges, and may hang up in the middle."""

    hang_up_after: ClassVar[int | None] = None
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        begin = 0
        given = self.headers.get("Range")
        Server.asked.append(given)
        if given:
            begin = int(given.removeprefix("bytes=").rstrip("-"))
        content = CONTENT[begin:]
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.hang_up_after])
        if self.hang_up_after is not None:
            self.wfile.flush()
            self.connection.close()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def url():
    Server.asked.clear()
    Server.hang_up_after = None
    handler = functools.partial(Server)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/file.bin"
        server.shutdown()
        thread.join()


GOOD = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def test_a_file_is_fetched_once(url, tmp_path):
    path = fetched(url, tmp_path, GOOD, len(CONTENT))
    assert path.read_bytes() == CONTENT and len(Server.asked) == 1
    assert fetched(url, tmp_path, GOOD, len(CONTENT)) == path and len(Server.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_broken_connection_is_gone_on_from(url, tmp_path):
    Server.hang_up_after = 300_000
    with pytest.raises(InputError, match=r"cannot be fetched .* it goes on where it was") as caught:
        fetched(url, tmp_path, GOOD, len(CONTENT))
    assert "--from" in str(caught.value)
    part = tmp_path / "file.bin.part"
    there = part.stat().st_size
    assert 0 < there <= 300_000 and not (tmp_path / "file.bin").exists()
    Server.hang_up_after = None
    assert fetched(url, tmp_path, GOOD, len(CONTENT)).read_bytes() == CONTENT
    assert Server.asked[-1] == f"bytes={there}-" and not part.exists()


def test_another_file_is_refused_and_not_kept(url, tmp_path):
    with pytest.raises(InputError, match="not the file it should be"):
        fetched(url, tmp_path, "sha256:" + "0" * 64, len(CONTENT))
    assert not list(tmp_path.iterdir())


def test_no_connection_is_told(tmp_path):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: cannot be fetched"):
        fetched("http://127.0.0.1:9/x", tmp_path, GOOD, 9)


def test_every_set_says_what_people_must_know():
    assert len(NAMED) >= 12
    for found in NAMED.values():
        assert found.what and found.licence and found.source and found.files
        for file in found.files:
            kind, _, mark = file.checksum.partition(":")
            assert file.size > 0
            assert file.url.startswith("https://")
            assert len(mark) == {"sha256": 64, "md5": 32, "inside": 64}[kind]


def test_a_name_that_is_none_is_told():
    with pytest.raises(InputError, match="no data set 'gun-point'; did you mean 'gunpoint'"):
        named_set("gun-point")


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data is absent")
HELD = ["japanese-vowels", "gunpoint", "tiny-shakespeare", "jsb-chorales", "nottingham", "etth1"]
HELD += ["airline", "lynx", "us-change", "macrodata"]


@needs_shared
@pytest.mark.parametrize("name", HELD)
def test_a_folder_can_be_pointed_at(name, tmp_path):
    path = get(name, given=SHARED, home=tmp_path)
    assert path.is_relative_to(tmp_path / name)
    if path.suffix == ".npz":
        read = read_archive(path)
        assert read.values.shape[1] == read.numbers.shape[1] == 88
        begins = np.cumsum([0, *read.lengths])
        for k in (0, 5):  # the answer is the next step's keys
            x = read.values[begins[k] : begins[k + 1]]
            y = read.numbers[begins[k] : begins[k + 1]]
            np.testing.assert_array_equal(x[1:], y[:-1])
    if path.suffix == ".ts":
        assert {"train", "test"} == {*read_archive(path).part.tolist()}


@needs_shared
def test_recordings_get_a_table(tmp_path):
    path = get("spoken-digits", given=SHARED, home=tmp_path)
    lines = path.read_text().splitlines()
    assert len(lines) == 3001 and lines[1] == "recordings/0_george_0.wav,0,george,test"
    assert (path.parent / "recordings" / "9_yweweler_49.wav").is_file()


def test_a_file_that_is_another_is_refused(tmp_path):
    (tmp_path / "GunPoint_TRAIN.ts").write_text("@data\n")
    with pytest.raises(InputError, match=r"GunPoint_TRAIN.ts: not the file it should be"):
        get("gunpoint", given=tmp_path, home=tmp_path / "home")
    with pytest.raises(InputError, match=r"no JSB_Chorales.mat in it"):
        get("jsb-chorales", given=tmp_path, home=tmp_path / "home")


def test_images_become_sequences_of_pixels(tmp_path, monkeypatch):
    import gzip

    rng = np.random.default_rng(0)
    files = []
    for name, count in (("train", 3), ("test", 2)):
        pixels = rng.integers(0, 256, (count, 784), dtype=np.uint8)
        files.append((f"{name}-images", bytes(16) + pixels.tobytes()))
        files.append((f"{name}-labels", bytes(8) + bytes(range(count))))
    files = [files[0], files[2], files[1], files[3]]
    for name, content in files:
        (tmp_path / name).write_bytes(gzip.compress(content))
    path = named._lay_mnist([tmp_path / name for name, _ in files], tmp_path)
    read = read_archive(path)
    assert read.lengths.tolist() == [784] * 5 and read.words == ["0", "1", "2", "0", "1"]
    assert read.part.tolist() == ["train"] * 3 + ["test"] * 2
    assert read.values.min() >= 0 and read.values.max() <= 1


def test_what_a_file_may_be_called():
    assert File("https://a/b/input.txt", "md5:0", 1, "other.txt").names == (
        "input.txt",
        "other.txt",
    )
