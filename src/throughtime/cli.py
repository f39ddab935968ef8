"""The command line application."""

import sys

import typer

from throughtime.commands.compare import compare, report
from throughtime.commands.fit import fit
from throughtime.commands.info import info
from throughtime.commands.predict import inspect, predict, sample
from throughtime.commands.public_sets import data
from throughtime.exit_codes import run_to_the_end
from throughtime.options import GroupedHelp

app = typer.Typer(
    name="throughtime",
    help="Find out whether your sequences need a recurrent network, and which one.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (compare, fit, predict, sample, inspect, report, info):
    app.command(cls=GroupedHelp)(command)
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line."""
    run_to_the_end(app, keeps=sys.argv[1:2] == ["compare"])
