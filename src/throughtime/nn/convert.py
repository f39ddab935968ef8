"""Swap torch.nn's recurrent layers for ours in a model that exists, or in what a library builds.

The weights are the same objects before and after, so an optimizer that holds them goes on working.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from throughtime.nn import cell_layers, layers

OURS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            *(layers.RNN, layers.LSTM, layers.GRU),
            *(cell_layers.RNNCell, cell_layers.LSTMCell, cell_layers.GRUCell),
        )
    }
)
THEIRS: Mapping[str, type[nn.Module]] = MappingProxyType({name: getattr(nn, name) for name in OURS})
_FLAG = "_throughtime_converted"  # on a layer that `revert` will turn back
_SIZES = ("input_size", "hidden_size", "num_layers", "proj_size")
_SWITCHES = ("bias", "batch_first", "dropout", "bidirectional", "nonlinearity")


@dataclass(frozen=True)
class Conversion:
    """What `convert` or `revert` did.

    ``print(conversion)`` tells it in words.
    """

    model: nn.Module  # the model given; another only where the model itself is such a layer
    swapped: Mapping[str, str]  # where in the model, and which class: {"encoder.rnn": "GRU"}
    left: Mapping[str, str]  # where, and why it was not swapped

    def __str__(self) -> str:
        lines = [
            f"swapped {path or 'the model itself'}: {name}" for path, name in self.swapped.items()
        ]
        lines += [f"left {path or 'the model itself'}: {why}" for path, why in self.left.items()]
        return "\n".join(lines) or "nothing to swap: no recurrent layer of torch.nn"


def convert(model: nn.Module) -> Conversion:
    """Swap every recurrent layer and cell of torch.nn in a model for ours, in place.

    >>> conversion = throughtime.convert(model)
    >>> print(conversion)
    swapped encoder.rnn: GRU
    left decoder.rnn: a subclass of LSTM (AttentionLSTM), which may compute something else

    Weights, hooks and the training mode are shared or kept; the random state is not touched.
    Subclasses and layers with parametrized weights are left and listed with the reason.

    Args:
        model: Any module; where it is itself such a layer, the new one is ``conversion.model``.

    Returns:
        What was swapped, and what was left and why.
    """

    def plan(module: nn.Module) -> type[nn.Module] | str | None:
        for name, theirs in THEIRS.items():
            if type(module) is theirs:
                return obstacle(module) or OURS[name]
            if isinstance(module, theirs):
                kind = type(module).__name__
                return f"a subclass of {name} ({kind}), which may compute something else"
        return None

    return _swap(model, plan, mark=True)


def revert(model: nn.Module) -> Conversion:
    """Undo `convert`: torch.nn's layers again, with the weights as they are now.

    >>> throughtime.revert(model)

    Layers that were ours from the start stay; so do converted ones that have since been given
    an option that torch.nn lacks.

    Args:
        model: A model that `convert` returned or changed.

    Returns:
        What was swapped, and what was left and why.
    """

    def plan(module: nn.Module) -> type[nn.Module] | str | None:
        if not getattr(module, _FLAG, False):
            return None
        beyond = [n for n in layers.BEYOND_TORCH if getattr(module, n, False)]
        if beyond:
            return f"it uses {', '.join(beyond)}, which torch.nn lacks"
        return obstacle(module) or THEIRS[type(module).__name__]

    return _swap(model, plan, mark=False)


@contextmanager
def patched() -> Generator[None]:
    """Within the block, `torch.nn.LSTM` and its like are ours.

    >>> with throughtime.patched():
    ...     model = library.Model(...)  # builds nn.GRU by that name

    For libraries that take the class from `torch.nn` when they build a model. What a library
    imported under a name of its own is not reached: use `convert` on the model it built.
    """
    homes: tuple[Any, ...] = (nn, nn.modules, nn.modules.rnn)
    before = [(home, name, getattr(home, name)) for home in homes for name in OURS]
    try:
        for home, name, _ in before:
            setattr(home, name, OURS[name])
        yield
    finally:
        for home, name, original in before:
            setattr(home, name, original)


def obstacle(module: nn.Module) -> str:
    """Why a layer's weights cannot simply be shared, or nothing."""
    expected = {n for n, _ in _built(type(module), module, "meta").named_parameters()}
    strange = set(dict(module.named_parameters())) ^ expected
    return (
        f"its weights are not as torch.nn names them ({', '.join(sorted(strange))})"
        if strange
        else ""
    )


def _built(kind: type[nn.Module], like: nn.Module, device: str) -> nn.Module:
    """A layer of the same sizes, its weights not drawn."""
    known = {n: getattr(like, n) for n in (*_SIZES, *_SWITCHES) if hasattr(like, n)}
    if not known.get("proj_size"):  # torch.nn's layers without projections refuse even a 0
        known.pop("proj_size", None)
    dropout = known.pop("dropout", 0.0)
    built = kind(**known, device=device)
    if hasattr(built, "dropout"):
        built.dropout = dropout  # afterwards: with one layer the constructor warns, once is enough
    return built


def _swap(model: nn.Module, plan: Any, mark: bool) -> Conversion:
    swapped: dict[str, str] = {}
    left: dict[str, str] = {}
    made: dict[int, nn.Module] = {}  # a layer that stands in two places stays one layer
    for path, module in list(model.named_modules(remove_duplicate=False)):
        found = plan(module)
        if isinstance(found, str):
            left[path] = found
        elif found is not None:
            new = made.setdefault(id(module), twin(found, module, mark))
            swapped[path] = found.__name__
            if not path:
                model = new
                continue
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, new)
    return Conversion(model, MappingProxyType(swapped), MappingProxyType(left))


def twin(kind: type[nn.Module], module: nn.Module, mark: bool) -> nn.Module:
    """A layer of another class with the same weights, hooks and mode."""
    new = _built(kind, module, "meta")
    for name, parameter in module.named_parameters():
        setattr(new, name, parameter)
    for name, value in vars(module).items():
        if name.endswith("_hooks") or name.endswith(("_hooks_with_kwargs", "_always_called")):
            setattr(new, name, value)
    new.train(module.training)
    if mark:
        setattr(new, _FLAG, True)
    return new
