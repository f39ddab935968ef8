"""Error messages that name Python arguments instead of command line options."""

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
    """Return a message with options replaced by arguments: --batch-size becomes batch_size."""
    message = re.sub(r"(?:see )?throughtime (\w+) --help", r"see help(throughtime.\1)", str(text))
    message = re.sub(r"\bset --([a-z][a-z-]*) ([a-z]+)\b", r'set \1="\2"', message)
    return re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), message)


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Reword a function's errors for Python; ``__cause__`` keeps the command line's error."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except InputError as error:
            raise InputError(*map(as_argument, error.args)) from error

    return call


def show_options(function: Any, kind: Any) -> None:
    """Add every option to the signature and docstring of a function that accepts them."""
    own = inspect.signature(function)
    hints = get_type_hints(kind)
    listed = [f for f in fields(kind) if f.metadata.get("argument", True)]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in listed
    ]
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*named, *added])
    lines = [f"    {f.name}: {as_argument(f.metadata['help'])}" for f in listed]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines])
