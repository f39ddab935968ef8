"""Random combinations of every command's options: a known exit code, one line, and nothing half."""

import random
import re
import shutil
from functools import cache

import pytest
import typer

from kinds import KINDS, SMALL
from throughtime.cli import app

CODES = {0, 1, 2, 130, 143}
# words that some option takes, mixed with what none does
WORDS = [
    *("y", "x", "t", "g", "label", "none", "error", "mask", "interpolate", "drop", "folder", "="),
    *("gru", "lstm", "dense,rnn", "window", "global", "adam", "sgd:momentum=0.9", "cosine", "all"),
    *("words", "bytes", "weekday", "hour,month", "1h", "1d", "15min", "60/20/20", "70/30", "cpu"),
    *("classes", "numbers", "best", "last", "mae", "bits", "tab", ";", "mfcc", "5s", "1h30m"),
    *("agc:0.01", "=1", "a,b,c", "-1", "1e999", "nan", "../..", "[/x]", "file"),
]
WORDS += ["", " ", ",", "\x1b[31m", "\u00e9", "x" * 300]
NUMBERS = ["0", "1", "2", "3", "7", "40", "-1", "999999", "1e-3", "0.5", "nan", "x", "9" * 20]
PATHS = {"--out", "--static", "--log"}
# what would make a run long, or is given anyway
LEFT_OUT = {"--jobs", "--from", "--epochs", "--parameters", "--networks", "--seeds", "--folds"}
WHOLE = {"--length", "--horizon", "--context", "--season", "--top-k"}  # without a default


@pytest.fixture(scope="module")
def place(tmp_path_factory, warm):
    """Data of every kind, and what commands made of one of them."""
    folder = tmp_path_factory.mktemp("options")
    paths = {}
    for name, kind in KINDS.items():
        if not kind.needs:
            (folder / name.replace(" ", "")).mkdir()
            paths[name] = kind.make(folder / name.replace(" ", ""))
    small = (*KINDS["csv"].options, *SMALL)
    assert not warm.run("fit", paths["csv"], *small, "-o", "m", cwd=folder).returncode
    text = (*KINDS["text"].options, *SMALL)
    assert not warm.run("fit", paths["text"], *text, "-o", "words", cwd=folder).returncode
    one = ("--networks", "dense", "--seeds", 1, "--jobs", 1, "--out", "run")
    assert not warm.run("compare", paths["csv"], *small, *one, cwd=folder).returncode
    return folder, paths


@cache
def commands():
    """Every command with its parameters, as the command line itself knows them."""
    group = typer.main.get_command(app)
    found = {(name,): command.params for name, command in group.commands.items()}
    inner = group.commands["data"].commands
    del found["data",]
    return found | {("data", name): command.params for name, command in inner.items()}


def value_of(option, rng, paths):
    """Something to give an option: most often of its kind."""
    if rng.random() < 0.1:
        return rng.choice([*WORDS, *NUMBERS])
    if PATHS & {*option.opts}:
        known = [*map(str, paths.values()), "m", "run", "new", "/dev/null", "", "nowhere/x"]
        return rng.choice(known)
    number = isinstance(option.default, int | float) or WHOLE & {*option.opts}
    return rng.choice(NUMBERS if number else WORDS)


def drawn(rng, folder, paths):
    """A command line."""
    words, parameters = rng.choice(sorted(commands().items()))
    line = list(words)
    kind = rng.choice(sorted(paths))
    for parameter in parameters:
        if parameter.param_type_name == "argument" and rng.random() < 0.97:
            given = {
                "data": str(paths[kind])
                if rng.random() < 0.9
                else rng.choice(["m", "nowhere", "."]),
                "model": rng.choice(["m", "m", "words", "run/model", "run", "nowhere"]),
                "run": rng.choice(["run", "run", "m", "nowhere"]),
                "name": rng.choice(["lynx", "x", ""]),
            }
            line.append(given[parameter.name])
    if words in (("fit",), ("compare",)):
        line += [*KINDS[kind].options, *SMALL] if rng.random() < 0.7 else SMALL
        line += (
            ["--jobs", "1", "--seeds", "1", "--networks", "dense"] if words == ("compare",) else []
        )
        line += ["--out", rng.choice(["new", "new", "m", "run"])] if rng.random() < 0.9 else []
    if words == ("data", "get"):
        line += ["--from", str(folder), "-o", "sets"]  # never the network
    options = [p for p in parameters if p.param_type_name == "option"]
    for option in rng.sample(options, min(len(options), rng.choice([0, 1, 1, 2, 3, 5]))):
        if not LEFT_OUT & {*option.opts}:
            line.append(rng.choice(option.opts))
            if not option.is_flag:
                line.append(value_of(option, rng, paths))
    return line


def check_line(warm, folder, line, what=""):
    """Run a command line in a folder that is made anew; hold its ending to what is promised."""
    here = folder / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    for name in ("m", "words", "run"):
        shutil.copytree(folder / name, here / name)
    done = warm.run(*line, cwd=here, XDG_CACHE_HOME=str(folder / "cache"))
    told = f"{what} {line}: {done}"
    assert done.returncode in CODES, told
    assert "Traceback" not in done.stderr and "internal error in throughtime" not in done.stderr, (
        told
    )
    if done.returncode:
        last = done.stderr.rstrip("\n").split("\n")[-1]
        assert re.match("throughtime: .", last), told
    assert "\x1b[31m" not in done.stderr, told
    if done.returncode == 0 and "--json" in line:
        assert done.stdout[:1] in "[{", told
    for path in here.rglob(".*"):
        raise AssertionError(f"{told}: left {path}")
    return done.returncode


def test_random_options_end_as_promised(place, warm, thorough, fuzz_seed):
    folder, paths = place
    codes = []
    count = 600 if thorough else 60
    for seed in range(fuzz_seed, fuzz_seed + count):
        line = drawn(random.Random(seed), folder, paths)
        codes.append(check_line(warm, folder, line, f"case {seed}"))
    assert codes.count(0) > count / 20 and codes.count(2) > count / 4  # both kinds are reached


def test_every_command_and_option_is_drawn():
    rng = random.Random(0)
    paths = {"csv": "a.csv", "text": "a.txt"}
    drawn_words = {word for _ in range(3000) for word in drawn(rng, "x", paths)}
    for words, parameters in commands().items():
        assert set(words) <= drawn_words
        for parameter in parameters:
            if parameter.param_type_name == "option":
                assert {*parameter.opts} & {*drawn_words, *LEFT_OUT}, parameter.opts


class Faulty:
    """A command line that ends in no known way."""

    def __init__(self, *done):
        self.done = done

    def run(self, *_, **__):
        from warm import Done

        return Done(*self.done)


@pytest.mark.parametrize(
    "done",
    [
        (3, "", "throughtime: x\n"),
        (-11, "", ""),
        (1, "", "Traceback (most recent call last):\n"),
        (1, "", "throughtime: internal error in throughtime 0: x\n"),
        (2, "", "no such thing\n"),
        (0, "", "\x1b[31mred\n"),
    ],
)
def test_the_check_sees_a_fault(place, done):
    with pytest.raises(AssertionError):
        check_line(Faulty(*done), place[0], ["info"])
