"""No cell and no network is named outside its entry: what is known of one stands there alone."""

import ast
from pathlib import Path

import pytest

from throughtime import catalogue
from throughtime.nn.cell_types import CELL_TYPES

PACKAGE = Path(__file__).parents[1] / "src" / "throughtime"
HOMES = {"catalogue.py", "nn/cell_types.py", "nn/cells.py"}
FILES = [p for p in PACKAGE.rglob("*.py") if str(p.relative_to(PACKAGE)) not in HOMES]
CELLS = {name for cell in CELL_TYPES.values() for name in (cell.name, cell.mode)}
GATES = {gate.name for cell in CELL_TYPES.values() for gate in cell.gates}
# "mean" is also how channels are mixed; "input", "cell", "output" and "new" are words of their own
NETWORKS = set(catalogue.names()) - {"mean"}
NAMES = CELLS | NETWORKS | (GATES - {"input", "cell", "output", "new", "reset", "update"})
NOT_NAMES = {  # the same word for another thing
    "__init__.py": {"RNN", "LSTM", "GRU"},  # public names of classes
    "nn/cell_layers.py": set(),
}


def names_in(source):
    """String constants of a source that name a cell or a network, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_name_stands_outside_its_entry(path):
    allowed = NOT_NAMES.get(str(path.relative_to(PACKAGE)), set())
    found = [(line, name) for line, name in names_in(path.read_text()) if name not in allowed]
    assert not found


def test_the_search_finds_what_it_should():
    source = 'if layer.kind == "LSTM":\n    pass\nkinds = ["gru", "my-network"]\nx = "an LSTM"\n'
    assert list(names_in(source)) == [(1, "LSTM"), (3, "gru")]
    assert {"rnn", "window-dense", "seasonal", "GRU", "RNN_TANH", "forget"} <= NAMES
