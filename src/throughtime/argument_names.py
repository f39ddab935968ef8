"""Errors in the words of Python: arguments where the command line has options."""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ParamSpec, TypeVar, get_type_hints

from throughtime.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def as_argument(text: object) -> str:
    """The words of an error with arguments in the place of options: --batch-size, batch_size."""
    words = re.sub(r"(?:see )?throughtime (\w+) --help", r"see help(throughtime.\1)", str(text))
    words = re.sub(r"\bset --([a-z][a-z-]*) ([a-z]+)\b", r'set \1="\2"', words)
    return re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), words)


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Raise errors in the words of Python; the command line finds its own in ``__cause__``."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except InputError as error:
            raise InputError(*map(as_argument, error.args)) from error

    return call


def show_options(function: Any, kind: Any) -> None:
    """Show every option in the signature and the docstring of a function that takes them."""
    own = inspect.signature(function)
    hints = get_type_hints(kind)
    keyword = inspect.Parameter.KEYWORD_ONLY
    further = [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in fields(kind)
    ]
    plain = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*plain, *further])
    told = [f"    {f.name}: {as_argument(f.metadata['help'])}" for f in fields(kind)]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *told])
