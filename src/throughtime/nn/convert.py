"""Replace torch.nn's recurrent layers with throughtime's, in a model or while a library builds it.

Converted layers share the weight objects of the originals, so existing optimizers keep working.
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
_FLAG = "_throughtime_converted"  # attribute of layers that `revert` converts back
_SIZES = ("input_size", "hidden_size", "num_layers", "proj_size")
_SWITCHES = ("bias", "batch_first", "dropout", "bidirectional", "nonlinearity")


@dataclass(frozen=True)
class Conversion:
    """What `convert` or `revert` did.

    ``print(conversion)`` shows it as text.
    """

    model: nn.Module  # the same model, or a new layer if the model itself was such a layer
    swapped: Mapping[str, str]  # path in the model: class, {"encoder.rnn": "GRU"}
    left: Mapping[str, str]  # path in the model: why it was not swapped

    def __str__(self) -> str:
        lines = [
            f"swapped {path or 'the model itself'}: {name}" for path, name in self.swapped.items()
        ]
        lines += [f"left {path or 'the model itself'}: {why}" for path, why in self.left.items()]
        return "\n".join(lines) or "nothing to swap: the model has no recurrent layer of torch.nn"


def convert(model: nn.Module) -> Conversion:
    """Replace every recurrent layer and cell of torch.nn in a model with throughtime's, in place.

    >>> conversion = throughtime.convert(model)
    >>> print(conversion)
    swapped encoder.rnn: GRU
    left decoder.rnn: a subclass of LSTM (AttentionLSTM), which may compute something else

    Weights, hooks and the training mode are kept; the random state does not change. Subclasses and
    layers with parametrized weights are left as they are and listed with the reason.

    Args:
        model: Any module. If it is itself such a layer, the new layer is ``conversion.model``.

    Returns:
        The swapped layers, and the layers that were left with the reason.
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
    """Undo `convert`: restore torch.nn's layers, with the current weights.

    >>> throughtime.revert(model)

    Layers that were created by throughtime are left, and so are converted layers that now use an
    option that torch.nn does not have.

    Args:
        model: A model that was converted by `convert`.

    Returns:
        The swapped layers, and the layers that were left with the reason.
    """

    def plan(module: nn.Module) -> type[nn.Module] | str | None:
        if not getattr(module, _FLAG, False):
            return None
        beyond = [n for n in layers.BEYOND_TORCH if getattr(module, n, False)]
        if beyond:
            return f"it uses {', '.join(beyond)}, which torch.nn does not have"
        return obstacle(module) or THEIRS[type(module).__name__]

    return _swap(model, plan, mark=False)


@contextmanager
def patched() -> Generator[None]:
    """Replace torch.nn's recurrent classes with throughtime's within a block.

    >>> with throughtime.patched():
    ...     model = library.Model(...)  # builds nn.GRU by that name

    For libraries that look up the class in `torch.nn` when they build a model. This has no effect
    on a library that imported the class directly (``from torch.nn import GRU``): apply `convert` to
    the finished model instead.
    """
    modules: tuple[Any, ...] = (nn, nn.modules, nn.modules.rnn)
    before = [(module, name, getattr(module, name)) for module in modules for name in OURS]
    try:
        for module, name, _ in before:
            setattr(module, name, OURS[name])
        yield
    finally:
        for module, name, original in before:
            setattr(module, name, original)


def obstacle(module: nn.Module) -> str:
    """Return why the weights of a layer cannot be shared with a new layer; empty if they can."""
    expected = {n for n, _ in _new_layer(type(module), module, "meta").named_parameters()}
    unexpected = set(dict(module.named_parameters())) ^ expected
    return (
        f"its weights do not have the names of torch.nn ({', '.join(sorted(unexpected))})"
        if unexpected
        else ""
    )


def _new_layer(kind: type[nn.Module], like: nn.Module, device: str) -> nn.Module:
    """Create a layer with the same sizes and options as ``like``."""
    known = {n: getattr(like, n) for n in (*_SIZES, *_SWITCHES) if hasattr(like, n)}
    if not known.get("proj_size"):  # RNN and GRU of torch.nn reject proj_size, even 0
        known.pop("proj_size", None)
    dropout = known.pop("dropout", 0.0)
    built = kind(**known, device=device)
    if hasattr(built, "dropout"):
        built.dropout = dropout  # set here, because the constructor would repeat its warning
    return built


def _swap(model: nn.Module, plan: Any, mark: bool) -> Conversion:
    swapped: dict[str, str] = {}
    left: dict[str, str] = {}
    created: dict[int, nn.Module] = {}  # a shared layer stays shared
    for path, module in list(model.named_modules(remove_duplicate=False)):
        found = plan(module)
        if isinstance(found, str):
            left[path] = found
        elif found is not None:
            new = created.setdefault(id(module), twin(found, module, mark))
            swapped[path] = found.__name__
            if not path:
                model = new
                continue
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, new)
    return Conversion(model, MappingProxyType(swapped), MappingProxyType(left))


def twin(kind: type[nn.Module], module: nn.Module, mark: bool) -> nn.Module:
    """Create a layer of class ``kind`` that shares the weights, hooks and mode of ``module``."""
    new = _new_layer(kind, module, "meta")
    for name, parameter in module.named_parameters():
        setattr(new, name, parameter)
    for name, value in vars(module).items():
        if name.endswith("_hooks") or name.endswith(("_hooks_with_kwargs", "_always_called")):
            setattr(new, name, value)
    new.train(module.training)
    if mark:
        setattr(new, _FLAG, True)
    return new
