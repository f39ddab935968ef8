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
    message = re.sub(r"--out\b(?!-)", "folder", message)
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


def show_options(function: Any, *kinds: Any) -> None:
    """Add the fields of dataclasses of options to the signature and docstring of a function."""
    own = inspect.signature(function)
    listed = [
        (f, get_type_hints(kind)[f.name])
        for kind in kinds
        for f in fields(kind)
        if f.metadata.get("argument", True)
        and function.__name__ in f.metadata.get("of", (function.__name__,))
    ]
    added = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hint
        )
        for f, hint in listed
    ]
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*named, *added])
    lines = [f"    {f.name}: {as_argument(f.metadata['help'])}" for f, _ in listed]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines])
