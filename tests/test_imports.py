"""Who may import whom, by the imports themselves; and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "throughtime"
BASE = {
    "argument_names",
    "bounded_reads",
    "catalogue",
    "cores",
    "data_options",
    "errors",
    "escapes",
    "files",
    "hyperparameters",
    "library_errors",
    "network_records",
    "output_guard",
    "problem_kinds",
    "serialization",
    "specs",
}  # standard library alone; anyone may use them
ALLOWED = {
    "errors": {"escapes"},
    "escapes": set(),
    "library_errors": {"errors"},
    "argument_names": {"errors"},
    "bounded_reads": {"errors"},
    "catalogue": set(),
    "cores": set(),
    "data_options": set(),
    "files": {"errors"},
    "hyperparameters": {"serialization"},
    "network_records": {"serialization"},
    "output_guard": {"errors"},
    "serialization": set(),
    "specs": {"data_options", "serialization"},
    "problem_kinds": set(),
    "runs": BASE,
    "comparison_columns": {*BASE, "runs"},
    "nn": {*BASE, "_native"},
    "data": {*BASE, "runs"},
    "insight": {*BASE, "nn", "runs"},
    "training": {*BASE, "nn", "insight", "data", "runs"},
    "problems": {
        *BASE,
        "comparison",
        "data",
        "deploy",
        "insight",
        "nn",
        "runs",
        "training",
        "__version__",
    },
    "comparison": {
        *BASE,
        "data",
        "deploy",
        "insight",
        "nn",
        "runs",
        "training",
        "__version__",
    },
    "report": {"catalogue", "comparison_columns", "network_records", "problem_kinds", "runs"},
    "deploy": {*BASE, "data", "problems", "runs"},
    "result": {*BASE, "deploy", "report", "runs"},
    "fit_folder": {*BASE, "deploy", "training"},
    "named_objects": {*BASE, "nn"},
    "settings_checks": {
        *BASE,
        "comparison",
        "named_objects",
        "nn",
        "problems",
        "runs",
        "training",
    },
    "api": {
        *BASE,
        "fit_folder",
        "settings_checks",
        "comparison",
        "data",
        "deploy",
        "nn",
        "printing",
        "problems",
        "result",
        "runs",
        "training",
    },
    "runtime": {"_native"},
    "printing": {*BASE, "comparison", "comparison_columns", "runs", "training"},
    "exit_codes": {*BASE, "__version__"},
    "options": {*BASE, "data", "training"},
    "cli": {"commands", "exit_codes", "options"},
    "commands": {
        *BASE,
        "api",
        "fit_folder",
        "options",
        "settings_checks",
        "comparison",
        "data",
        "deploy",
        "nn",
        "printing",
        "problems",
        "report",
        "runs",
        "training",
        "__version__",
    },
    "__main__": {"start"},
    "start": {"cli"},
}
STANDARD_LIBRARY_ONLY = {*BASE, "runs"}


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(source):
    """Every module that a source names, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield node.module
            if node.module == "throughtime":
                yield from (f"throughtime.{alias.name}" for alias in node.names)


def violations(part, source):
    found = []
    for name in imports(source):
        top, *rest = name.split(".")
        if (top == "throughtime" and rest and rest[0] not in {*ALLOWED[part], part}) or (
            part in STANDARD_LIBRARY_ONLY and top not in {*sys.stdlib_module_names, "throughtime"}
        ):
            found.append(name)
    return found


FILES = [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_flows_one_way(path):
    assert not violations(part_of(path), path.read_text())


def test_the_check_sees_what_is_forbidden():
    assert violations("runs", "import torch")
    assert violations("nn", "from throughtime.data import tables")
    assert violations("nn", "def f():\n    from throughtime import training")
    assert violations("report", "import throughtime.problems.forecasting.networks")
    assert violations("data", "from throughtime import __version__")
    assert not violations(
        "comparison", "from throughtime.data.tables.forecast_problem import Problem\nimport numpy"
    )
    assert not violations("runs", "import json\nfrom throughtime.files import write_whole")


def test_no_file_has_outgrown_its_job():
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 440}
    assert not long


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


HEAVY = {"torch", "numpy", "polars", "plotly", "rich", "pandas"}


@pytest.mark.parametrize(
    "statement", ["import throughtime", "import throughtime.cli", "import throughtime.runs"]
)
def test_importing_is_light(statement):
    assert not loaded_by(statement) & HEAVY


def test_what_needs_more_than_the_library_says_what_to_install():
    code = "import sys; sys.modules['polars'] = None\nimport throughtime\nthroughtime.read"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "ImportError: throughtime.read needs polars: pip install 'throughtime[app]'"
    assert done.stderr.splitlines()[-1] == expected
    alone = "import sys; sys.modules['polars'] = None\nfrom throughtime import LSTM, observe"
    assert "torch" in loaded_by(alone)


def test_the_public_names_are_all_there():
    import throughtime

    for name in throughtime.__all__:
        assert getattr(throughtime, name).__module__.startswith("throughtime.")
    assert set(throughtime.__all__) <= set(dir(throughtime))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = throughtime.nothing
