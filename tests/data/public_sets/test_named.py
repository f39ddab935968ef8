"""Public data sets: fetched once, checked, gone on with, or pointed at."""

import functools
import hashlib
import http.server
import json
import os
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from throughtime.data.public_sets import layout, named
from throughtime.data.public_sets.fetching import fetched
from throughtime.data.public_sets.layout import Layout, laid_out
from throughtime.data.public_sets.named import NAMED, File, get, named_set
from throughtime.data.sequences.archive import read_archive
from throughtime.errors import InputError
from throughtime.files import alone_in

pytest.importorskip("pooch")
SHARED = Path(__file__).parents[4] / "shared" / "data"
CONTENT = bytes(range(256)) * 4000


class Server(http.server.SimpleHTTPRequestHandler):
    """A server that knows ranges, and may hang up in the middle."""

    endless: ClassVar[bool] = False
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
        if not Server.endless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        while Server.endless:
            try:
                self.wfile.write(bytes(1 << 16))
            except OSError:  # the reader has had enough
                return
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
    with pytest.raises(InputError, match=r"the download failed .* again to resume") as caught:
        fetched(url, tmp_path, GOOD, len(CONTENT))
    assert "--from" in str(caught.value)
    part = tmp_path / "file.bin.part"
    there = part.stat().st_size
    assert 0 < there <= 300_000 and not (tmp_path / "file.bin").exists()
    Server.hang_up_after = None
    assert fetched(url, tmp_path, GOOD, len(CONTENT)).read_bytes() == CONTENT
    assert Server.asked[-1] == f"bytes={there}-" and not part.exists()


def test_another_file_is_refused_and_not_kept(url, tmp_path):
    with pytest.raises(InputError, match="the checksum differs"):
        fetched(url, tmp_path, "sha256:" + "0" * 64, len(CONTENT))
    assert not list(tmp_path.iterdir())


def test_no_connection_is_told(tmp_path):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: the download failed"):
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
    with pytest.raises(InputError, match=r"GunPoint_TRAIN.ts: the checksum differs"):
        get("gunpoint", given=tmp_path, home=tmp_path / "home")
    with pytest.raises(InputError, match=r"no file JSB_Chorales.mat"):
        get("jsb-chorales", given=tmp_path, home=tmp_path / "home")


TABLE = b"year,trappings\n" + b"".join(b"%d,%d\n" % (1821 + k, k * 7 % 90) for k in range(114))


@pytest.fixture
def lynx(tmp_path, monkeypatch):
    """A set of one file, and one that is laid out from it; their files; where they are kept."""
    mark = f"sha256:{hashlib.sha256(TABLE).hexdigest()}"
    files = (File("https://x/Lynx.csv", mark, len(TABLE)),)

    def lay(found, layout):
        for name in ("one", "two"):
            layout.put(f"parts/{name}", name.encode() * 9)
        return layout.put("list.csv", found[0].read_bytes()[:99])

    monkeypatch.setitem(NAMED, "lynx", named.NamedSet("w", "l", "s", files, ""))
    monkeypatch.setitem(NAMED, "laid", named.NamedSet("w", "l", "s", files, "", lay))
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "Lynx.csv").write_bytes(TABLE)
    return functools.partial(get, given=tmp_path / "given", home=tmp_path / "home")


def flipped(path, keep_times=False):
    """Change one byte of a file; its size stays, and its times if asked."""
    before = path.stat()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize(
    ("name", "file"), [("lynx", "Lynx.csv"), ("laid", "parts/two"), ("laid", "list.csv")]
)
def test_a_file_that_was_changed_is_not_handed_out(lynx, tmp_path, name, file, keep_times):
    path = lynx(name)
    changed = tmp_path / "home" / name / file
    right = changed.read_bytes()
    flipped(changed, keep_times)
    wrong = changed.read_bytes()
    told = []
    assert lynx(name, report=told.append) == path
    assert changed.read_bytes() == right
    aside = changed.with_name(f"{changed.name}.changed")
    assert aside.read_bytes() == wrong  # somebody may have meant it
    assert told == [f"{aside}: a different file existed and was renamed to this name"]
    assert lynx(name) == path and changed.read_bytes() == right


def test_what_is_unchanged_is_not_read_again_unless_asked(lynx, tmp_path, monkeypatch):
    path = lynx("laid")
    read = []
    real = layout.read_regular

    def watched(path, *most):
        read.append(path.name)
        return real(path, *most)

    monkeypatch.setattr(layout, "read_regular", watched)
    assert lynx("laid", given=tmp_path / "nowhere") == path  # nothing is needed from outside
    assert read == ["checked.json"]
    assert lynx("laid", verify=True) == path
    assert set(read) == {"checked.json", "Lynx.csv", "list.csv", "one", "two"}
    read.clear()
    os.utime(path)  # touched, and the same: read once, and known again
    assert lynx("laid", given=tmp_path / "nowhere") == path and "list.csv" in read
    read.clear()
    assert lynx("laid", given=tmp_path / "nowhere") == path and read == ["checked.json"]


def test_verify_sees_what_status_does_not(lynx, tmp_path):
    """A record of a check that never was, made to fit the changed file."""
    path = lynx("lynx")
    flipped(path)
    record = json.loads((path.parent / "checked.json").read_text())
    status = path.stat()
    record["files"][0]["status"] = [
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    ]
    (path.parent / "checked.json").write_text(json.dumps(record))
    assert lynx("lynx").read_bytes() != TABLE
    assert lynx("lynx", verify=True).read_bytes() == TABLE


@pytest.mark.parametrize("harm", ["missing", "a folder", "a pipe", "no record", "a damaged record"])
def test_whatever_is_amiss_is_laid_out_anew(lynx, tmp_path, harm):
    path = lynx("laid")
    part, record = path.parent / "parts" / "one", path.parent / "checked.json"
    if harm in ("missing", "a folder", "a pipe"):
        part.unlink()
    if harm == "a folder":
        part.mkdir()
    if harm == "a pipe":
        os.mkfifo(part)
    if harm == "no record":
        record.unlink()
    if harm == "a damaged record":
        record.write_text(record.read_text()[:-30])
    assert lynx("laid") == path
    assert part.read_bytes() == b"one" * 9


def test_a_changed_file_that_cannot_be_had_again_is_told(lynx, tmp_path):
    path = lynx("lynx")
    flipped(path)
    with pytest.raises(InputError, match=r"no file Lynx.csv"):
        lynx("lynx", given=tmp_path / "home" / "nowhere")
    assert path.read_bytes() != TABLE  # as it was: nothing was lost


def test_a_file_of_ones_own_at_that_place_is_kept(lynx, tmp_path):
    place = tmp_path / "home" / "lynx" / "Lynx.csv"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    assert lynx("lynx") == place and place.read_bytes() == TABLE
    assert place.with_name("Lynx.csv.changed").read_text() == "mine"


def test_no_changed_file_replaces_an_earlier_one(lynx, tmp_path):
    path = lynx("lynx")
    path.with_name("Lynx.csv.changed-2").write_text("somebody's")
    told = []
    for number in range(3):
        path.write_text(f"change {number}")
        lynx("lynx", report=told.append)
    kept = [path.with_name(f"Lynx.csv.changed{end}").read_text() for end in ("", "-2", "-3", "-4")]
    assert kept == ["change 0", "somebody's", "change 1", "change 2"] and len(told) == 3


@pytest.mark.parametrize("content", ['{"mine": true}', "[" * 200_000, "", "\0"])
def test_a_record_of_somebody_elses_is_kept_aside(lynx, tmp_path, content):
    record = tmp_path / "home" / "lynx" / "checked.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    assert lynx("lynx").read_bytes() == TABLE
    assert record.with_name("checked.json.changed").read_text() == content


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_lies_in_the_place_of_a_file_is_neither_read_nor_written_through(lynx, tmp_path, kind):
    folder = tmp_path / "home" / "lynx"
    folder.mkdir(parents=True)
    (tmp_path / "precious").write_text("x")
    for name in ("checked.json", "Lynx.csv"):
        if kind == "pipe":
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to(tmp_path / "precious")
    assert lynx("lynx").read_bytes() == TABLE
    assert (tmp_path / "precious").read_text() == "x"


def test_a_folder_that_is_a_link_is_not_written_through(lynx, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "one").write_text("precious")
    (tmp_path / "home" / "laid").mkdir(parents=True)
    (tmp_path / "home" / "laid" / "parts").symlink_to(tmp_path / "elsewhere")
    path = lynx("laid")
    assert (path.parent / "parts" / "one").read_bytes() == b"one" * 9
    assert [p.read_text() for p in (tmp_path / "elsewhere").iterdir()] == ["precious"]


@pytest.mark.parametrize(
    "record",
    [
        {"path": "../../precious", "files": []},
        {"path": "../../precious", "files": [["../../precious"]]},
        {"path": "/etc/passwd", "files": [["/etc/passwd"]]},
        {"path": "a\0", "files": [["a\0"]]},
        {"path": "other", "files": [["Lynx.csv"]]},
    ],
)
def test_a_record_hands_out_nothing_from_outside(tmp_path, record):
    (tmp_path / "precious").write_text("x")
    folder = tmp_path / "home" / "lynx"
    folder.mkdir(parents=True)
    (folder / "Lynx.csv").write_bytes(TABLE)
    files = [
        {"name": n, "sha256": hashlib.sha256(b"x").hexdigest(), "status": [1]}
        for (n,) in record["files"]
    ]
    (folder / "checked.json").write_text(json.dumps({**record, "files": files}))
    assert laid_out(folder) is None


def test_a_check_never_takes_a_changed_file_for_the_right_one(lynx, tmp_path, monkeypatch):
    """One file is touched, another was changed behind its status: as by a disk that decays."""
    path = lynx("laid")
    part = path.parent / "parts" / "one"
    real = layout._status
    before = real(part)
    part.write_bytes(b"onE" * 9)
    monkeypatch.setattr(layout, "_status", lambda p: before if p == part else real(p))
    os.utime(path)
    assert lynx("laid") == path  # its status says that nothing happened
    assert lynx("laid", verify=True) == path
    assert part.read_bytes() == b"one" * 9


def test_two_at_once_are_one_too_many(lynx, tmp_path):
    with (
        alone_in(tmp_path / "home" / "lynx"),
        pytest.raises(InputError, match="is using this folder"),
    ):
        lynx("lynx")


def test_an_endless_answer_is_cut_where_the_file_ends(url, tmp_path):
    for size in (len(CONTENT) - 1, 1000):
        with pytest.raises(InputError, match=f"larger than the expected {size:,} bytes"):
            fetched(url, tmp_path, GOOD, size)
        assert not list(tmp_path.iterdir())
    Server.endless = True
    try:
        with pytest.raises(InputError, match="larger than the expected 300,000 bytes"):
            fetched(url, tmp_path, GOOD, 300_000)
    finally:
        Server.endless = False
    assert not list(tmp_path.iterdir())


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
    path = named._lay_mnist([tmp_path / name for name, _ in files], Layout(tmp_path))
    read = read_archive(path)
    assert read.lengths.tolist() == [784] * 5 and read.words == ["0", "1", "2", "0", "1"]
    assert read.part.tolist() == ["train"] * 3 + ["test"] * 2
    assert read.values.min() >= 0 and read.values.max() <= 1


def test_what_a_file_may_be_called():
    assert File("https://a/b/input.txt", "md5:0", 1, "other.txt").names == (
        "input.txt",
        "other.txt",
    )
