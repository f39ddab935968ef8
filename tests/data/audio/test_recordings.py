"""Recordings: read whole or refused, features as their definition says, computed once."""

import hashlib
import io

import numpy as np
import pytest

from throughtime.data.audio.recordings import (
    _cut_wav,
    check_features,
    features_of,
    kept_features,
    read_audio,
    read_recording,
)
from throughtime.data.sequences.collection import sequence_problem
from throughtime.data_options import DataOptions
from throughtime.errors import InputError

soundfile = pytest.importorskip("soundfile")
HERE = DataOptions()


def tone(hertz=440.0, seconds=0.5, rate=8000, channels=1, quiet=0.5):
    time = np.arange(int(seconds * rate)) / rate
    wave = quiet * np.sin(2 * np.pi * hertz * time).astype(np.float32)
    return np.stack([wave] * channels, axis=1)


def record(path, samples=None, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **options)
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_every_format_gives_the_same_tone(tmp_path, ending):
    path = record(tmp_path / f"x.{ending}", tone(seconds=1))
    signal = read_recording(path, path.read_bytes(), HERE)
    spectrum = np.abs(np.fft.rfft(signal[0][1000:5000]))
    assert signal.shape[0] == 1 and spectrum.argmax() == 220  # of 440 Hz at 2 Hz a bin


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_every_rate_is_brought_to_one(tmp_path, rate):
    path = record(tmp_path / "x.wav", tone(seconds=1, rate=rate), rate)
    signal = read_recording(path, path.read_bytes(), HERE)
    assert abs(signal.shape[1] - 8000) <= 1
    np.testing.assert_allclose(signal[0][500:7500], tone(seconds=1)[500:7500, 0], atol=2e-3)


def test_channels_are_averaged_or_kept(tmp_path):
    both = np.concatenate([tone(), 0 * tone()], axis=1)
    path = record(tmp_path / "x.wav", both)
    raw = path.read_bytes()
    mean = read_recording(path, raw, HERE)
    kept = read_recording(path, raw, DataOptions(channels="all"))
    assert mean.shape == (1, 4000) and kept.shape == (2, 4000)
    np.testing.assert_allclose(mean[0], kept[0] / 2, atol=1e-6)
    features = features_of(kept, DataOptions(channels="all", bands=10))
    assert features.shape == (51, 20)
    np.testing.assert_allclose(features[:, 10:], np.log(1e-6))  # silence


def test_mel_bands_follow_the_pitch():
    loudest = [features_of(tone(h).T, HERE)[20].argmax() for h in (200, 400, 800, 1600, 3200)]
    assert loudest == sorted(loudest) and len(set(loudest)) == 5
    assert features_of(tone().T, DataOptions(features="mfcc", bands=13)).shape == (51, 13)
    assert np.isfinite(features_of(np.zeros((1, 1)), HERE)).all()  # a single sample


def test_features_are_computed_once_and_by_content(tmp_path, monkeypatch):
    path, store = record(tmp_path / "x.wav"), tmp_path / "store"
    first, mark = kept_features(path, HERE, store)
    (entry,) = store.iterdir()

    def fail(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr("throughtime.data.audio.recordings.features_of", fail)
    again, same = kept_features(path, HERE, store)
    assert np.array_equal(first, again) and mark == same
    for harm in (lambda: entry.write_bytes(entry.read_bytes()[:-3]), lambda: record(path, tone(9))):
        harm()
        with pytest.raises(AssertionError, match="computed again"):
            kept_features(path, HERE, store)
    record(path)
    with pytest.raises(AssertionError, match="computed again"):  # other settings
        kept_features(path, DataOptions(bands=20), store)


def harmed(path, harm):
    raw = record(path).read_bytes()
    path.write_bytes(harm(raw))
    return path


BAD = {
    "cut": (lambda raw: raw[: len(raw) // 2], "the recording is truncated"),
    "no sound at all": (lambda raw: raw[:44], "(has no samples|is truncated)"),
    "empty": (lambda raw: b"", "not a readable recording"),
    "text": (lambda raw: b"hello", "not a readable recording"),
    "a header alone": (lambda raw: raw[:20], "(not a readable recording|cut)"),
}


@pytest.mark.parametrize(("harm", "told"), BAD.values(), ids=BAD.keys())
def test_bad_recordings_get_one_line(tmp_path, harm, told):
    path = harmed(tmp_path / "x.wav", harm)
    with pytest.raises(InputError, match=told) as caught:
        read_recording(path, path.read_bytes(), HERE)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3"])
def test_a_cut_recording_is_refused_or_shorter(tmp_path, ending):
    path = record(tmp_path / f"x.{ending}", tone(seconds=4))
    raw = path.read_bytes()[:-700]
    try:
        signal = read_recording(path, raw, HERE)
    except InputError as error:
        assert str(path) in str(error)
    else:  # nothing in the file says how long it should be
        assert 0 < signal.shape[1] < 32000 + 4000


def test_numbers_that_are_none_are_told_with_their_second(tmp_path):
    samples = tone(seconds=1)
    samples[2000] = np.nan
    path = record(tmp_path / "x.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match=r"second 0.250: a sample is not a finite number"):
        read_recording(path, path.read_bytes(), HERE)


def test_a_recording_of_many_hours_is_refused_before_it_is_read(tmp_path):
    path = record(
        tmp_path / "x.wav", np.zeros((1000 * 7300, 1), np.float32), 1000, subtype="PCM_U8"
    )
    with pytest.raises(InputError, match=r"2\.0 hours long"):
        read_recording(path, path.read_bytes(), HERE)


def test_an_hour_is_read(tmp_path):
    path = record(
        tmp_path / "x.wav", np.zeros((1000 * 3600, 1), np.float32), 1000, subtype="PCM_U8"
    )
    features, _ = kept_features(path, DataOptions(rate=1000, bands=4), None)
    assert len(features) == 360_001


def test_sizes_in_a_header_that_lie_are_seen():
    head = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(16)
    assert _cut_wav(head + b"data\xff\x00\x00\x00ab")
    assert not _cut_wav(head + b"data\x02\x00\x00\x00ab")
    assert not _cut_wav(head + b"data\xff\xff\xff\xffab")  # a stream: its length was not known
    assert _cut_wav(head)
    assert not _cut_wav(b"fLaC")


def test_folders_are_classes(tmp_path):
    for k in range(8):
        record(tmp_path / "all" / "low" / f"{k}.wav", tone(200, 0.1 + 0.02 * k))
        record(tmp_path / "all" / "high" / f"{k}.wav", tone(2000, 0.1 + 0.02 * k))
    told = []
    read = read_audio(
        tmp_path / "all",
        HERE,
        watch=lambda done, total: told.append((done, total)),
    )
    assert read.words == ["high"] * 8 + ["low"] * 8 and len(read.columns) == 40
    assert sorted(told) == [(k + 1, 16) for k in range(16)]
    assert read.lengths.min() == 11 and sequence_problem(read).answers.classes == ("high", "low")


def test_a_table_names_recordings_their_labels_and_parts(tmp_path):
    for k in range(4):
        record(tmp_path / "r" / f"{k}.wav", tone(200 + k))
    table = tmp_path / "x.csv"
    rows = "".join(f"r/{k}.wav,{'ab'[k % 2]},{'train' if k < 3 else 'test'}\n" for k in range(4))
    table.write_text("file,said,part\n" + rows)
    read = read_audio(table, DataOptions(label="said", file="file", part="part"))
    assert read.words == ["a", "b", "a", "b"] and read.part.tolist()[-1] == "test"


def test_stretches_of_time_label_every_frame(tmp_path):
    record(tmp_path / "x.wav", tone(seconds=0.1))
    table = tmp_path / "x.csv"
    table.write_text("file,start,end,said\nx.wav,0.02,0.05,hello\nx.wav,0.07,0.2,bye\n")
    read = read_audio(table, DataOptions(label="said", file="file"))
    assert read.every_step
    assert read.words == [None] * 2 + ["hello"] * 3 + [None] * 2 + ["bye"] * 4


TABLES = {
    "no such file": ("file,said\ny.wav,a\n", "row 2, column 'file': file 'y.wav' does not exist"),
    "a file twice": (
        "file,said\nx.wav,a\nx.wav,b\n",
        "row 3, column 'file': file 'x.wav' is listed twice",
    ),
    "no such column": ("file,word\nx.wav,a\n", "no column 'said'"),
    "backwards": (
        "file,start,end,said\nx.wav,2,1,a\n",
        "row 2, column 'end': a period from 2 to 1",
    ),
    "a strange part": ("file,said,part\nx.wav,a,dev\n", "row 2, column 'part': part 'dev'"),
}


@pytest.mark.parametrize(("text", "told"), TABLES.values(), ids=TABLES.keys())
def test_bad_tables_of_recordings_get_one_line(tmp_path, text, told):
    record(tmp_path / "x.wav")
    (tmp_path / "x.csv").write_text(text)
    part = "part" if "part" in text else None
    with pytest.raises(InputError, match=told):
        read_audio(tmp_path / "x.csv", DataOptions(label="said", file="file", part=part))


def test_mixed_channels_and_lone_files_are_told(tmp_path):
    record(tmp_path / "a" / "x.wav")
    record(tmp_path / "b" / "y.wav", tone(channels=2))
    with pytest.raises(InputError, match=r"y.wav: 2 channels, but x.wav has 1"):
        read_audio(tmp_path, DataOptions(channels="all"))
    record(tmp_path / "z.wav")
    with pytest.raises(InputError, match=r"z.wav: not in a folder named after a class"):
        read_audio(tmp_path, HERE)


@pytest.mark.parametrize(
    "options", [{"features": "cqt"}, {"channels": "left"}, {"rate": 10}, {"bands": 0}]
)
def test_settings_that_cannot_be_are_told(options):
    with pytest.raises(InputError, match=f"--channels: {next(iter(options))} must be"):
        check_features(DataOptions(**options))


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


STRANGE_ENTRIES = {
    "nothing": b"",
    "garbage": b"garbage",
    "objects": npy(np.array([{1: 2}], dtype=object), allow_pickle=True),
    "a number": npy(np.float32(3)),
    "a row": npy(np.zeros(40, np.float32)),
    "no frame": npy(np.zeros((0, 40), np.float32)),
    "no bands": npy(np.zeros((3, 0), np.float32)),
    "other bands": npy(np.zeros((3, 7), np.float32)),
    "words": npy(np.array([["a"]])),
    "float64": npy(np.zeros((3, 40))),
    "a header that lies": npy(np.zeros((3, 40), np.float32)).replace(b"(3, 40)", b"(9, 40)"),
}


@pytest.mark.parametrize("content", STRANGE_ENTRIES.values(), ids=STRANGE_ENTRIES)
def test_an_entry_that_is_none_is_computed_anew(tmp_path, content):
    """Whole by its checksum, and made by somebody else."""
    path, store = record(tmp_path / "x.wav"), tmp_path / "store"
    first, _ = kept_features(path, HERE, store)
    (entry,) = store.iterdir()
    entry.write_bytes(hashlib.sha256(content).digest() + content)
    again, _ = kept_features(path, HERE, store)
    np.testing.assert_array_equal(first, again)
