"""Settings of the whole test run."""

import sys
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # `import helpers` from every folder

# no deadline: a busy machine is no failure
settings.register_profile("throughtime", deadline=None, derandomize=True)
settings.load_profile("throughtime")


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="all of what `make fuzz` runs")
    parser.addoption("--fuzz-seed", type=int, default=0, help="the first case of the fuzzers")


def pytest_collection_modifyitems(config, items):
    """Without --thorough what takes minutes is left out."""
    if not config.getoption("--thorough"):
        slow = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def thorough(request):
    """Whether there are minutes to spend."""
    return request.config.getoption("--thorough")


@pytest.fixture(scope="session")
def fuzz_seed(request):
    """The first case of a fuzzer."""
    return request.config.getoption("--fuzz-seed")


@pytest.fixture(scope="session")
def warm():
    """The command line, many times in a row."""
    from helpers import shared

    return shared()


@pytest.fixture(scope="session")
def co2_cut(tmp_path_factory):
    """Nine years of the demo's own data, five missing weeks among them."""
    source = files("statsmodels.datasets.co2") / "co2.csv"
    lines = source.read_text().splitlines()
    path = tmp_path_factory.mktemp("data") / "co2.csv"
    path.write_text("\n".join([lines[0], *lines[1250:1720]]) + "\n")
    return path


@pytest.fixture(scope="session")
def problem(co2_cut):
    """The demo's problem on the cut, with a short context."""
    from throughtime.data.tables.forecast_problem import read_problem
    from throughtime.data_options import DataOptions

    columns = DataOptions(
        target=("co2",), time="date", missing="interpolate", horizon=4, context=54
    )
    return read_problem(co2_cut, columns)


SMALL = {
    "networks": ("dense", "window-dense", "gru"),
    "seeds": (0, 1),
    "trials": 2,
    "parameters": 300,
    "normalize": "window",
    "epochs": 3,
    "batch_size": 64,
    "patience": None,
}


@pytest.fixture(scope="session")
def small_settings():
    """A comparison that takes seconds."""
    from throughtime.runs import SettingsRecord

    return SettingsRecord(**SMALL)


@pytest.fixture(scope="session")
def comparison(problem, small_settings, tmp_path_factory):
    """A finished small comparison: its record and folder."""
    from throughtime.comparison.trials import compare
    from throughtime.problems.registry import experiment_of

    folder = tmp_path_factory.mktemp("runs") / "co2"
    experiment = experiment_of(problem)
    return compare(
        experiment, small_settings, folder, command="throughtime compare co2.csv"
    ), folder
