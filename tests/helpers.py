"""Helpers of the tests: comparison of numbers, gradients, and the command line.

test_helpers.py shows that the comparisons fail on wrong results.
"""

import atexit
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warm import Done, Warm

# Maximum error relative to the largest expected value, for all tests.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def assert_same(actual: Any, expected: Any, where: str = "result") -> None:
    """Compare nested tensors by structure, shape, dtype and value; types by identity."""
    if isinstance(expected, type):
        assert actual is expected, f"{where}: expected {expected.__name__}, got {actual!r}"
    elif isinstance(expected, Tensor):
        _assert_same_tensor(actual, expected, where)
    elif expected is None:
        assert actual is None, f"{where}: expected None, got {type(actual).__name__}"
    elif isinstance(expected, Mapping):
        assert set(actual) == set(expected), f"{where}: keys {set(actual) ^ set(expected)} differ"
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}[{key!r}]")
    else:
        assert isinstance(expected, Sequence), f"cannot compare {type(expected).__name__}"
        assert not isinstance(expected, str), "cannot compare text"
        assert len(actual) == len(expected), f"{where}: {len(actual)} parts, not {len(expected)}"
        for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, e, f"{where}[{index}]")


def _assert_same_tensor(actual: Any, expected: Tensor, where: str) -> None:
    assert isinstance(actual, Tensor), f"{where}: expected a tensor, got {type(actual).__name__}"
    assert actual.shape == expected.shape, f"{where}: {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"{where}: {actual.dtype}, expected {expected.dtype}"
    if expected.numel() == 0:
        return
    if not expected.is_floating_point():
        assert torch.equal(actual, expected), f"{where}: values differ"
        return
    actual, expected = actual.detach(), expected.detach()
    assert expected.isfinite().all(), f"{where}: the expected value itself is not finite"
    scale = expected.abs().max().item()
    error = (actual - expected).abs().max().item()
    # with only zeros expected (the gradient of an unused input), the result must be exact
    allowed = TOLERANCE[expected.dtype] * scale
    assert error <= allowed, f"{where}: error {error:.3g}, allowed {allowed:.3g}"


def gradients(
    outputs: Any, inputs: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor | None]:
    """Return the gradients of `inputs` for a random cotangent of every tensor in `outputs`."""
    total: Tensor | None = None
    for output in flat(outputs):
        cotangent = torch.randn(output.shape, generator=generator, dtype=output.dtype)
        term = (output * cotangent).sum()
        total = term if total is None else total + term
    assert total is not None, "nothing to differentiate"
    wanted = list(inputs.values())
    # retained, because two compared layers may share the graph of a packed input
    found = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
    return dict(zip(inputs, found, strict=True))


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the type of its exception."""
    try:
        return call()
    except Exception as error:
        return type(error)


def flat(tree: Any) -> list[Tensor]:
    """List all tensors of a nested result in order, with the data of a PackedSequence."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, torch.nn.utils.rnn.PackedSequence):
        return [tree.data]
    return [tensor for part in tree for tensor in flat(part)]


def throughtime(*arguments: Any, code: int = 0, cwd: Any = None) -> Done:
    """Run the command line in a process; check its exit code and that it prints no traceback."""
    done = shared().run(*arguments, cwd=cwd or Path.cwd())
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@cache
def shared() -> Warm:
    """Return the process that is shared by the whole test run."""
    running = Warm()
    atexit.register(running.close)
    return running
