"""Benchmarks can be imported, and the library names that they use exist."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FILES = sorted(BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_name_that_a_benchmark_imports_exists(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
            "throughtime"
        ):
            continue
        module = importlib.import_module(node.module)
        for name in node.names:
            inside = hasattr(module, name.name)
            assert inside or importlib.util.find_spec(f"{node.module}.{name.name}"), name.name


def test_there_are_benchmarks():
    assert len(FILES) > 10
