"""Parts that networks of several problems share."""

from typing import Any

from torch import nn

from throughtime import catalogue
from throughtime.nn.initialization import by_name


def perceptron(inputs: int, width: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """A multilayer perceptron with two hidden layers of ``width`` units.

    Dropout applies after each hidden layer. Without it there is no such module, so that weights
    have the names that they had before there was an option.
    """
    drop = [nn.Dropout(dropout)] if dropout else []
    layers = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)
    return nn.Sequential(layers[0], nn.ReLU(), *drop, layers[1], nn.ReLU(), *drop, layers[2])


def recurrent_body(config: Any, width: int, **options: Any) -> nn.Module:
    """The recurrent layers of a configuration, for `width` features of a step."""
    layer = catalogue.kind_of(config.kind).layer_class()
    usual = {"recurrent_dropout": 0.0, "bidirectional": False, "init": "torch"}
    given = {name: getattr(config, name, value) for name, value in usual.items()}
    options |= {name: value for name, value in given.items() if value != usual[name]}
    if config.num_layers > 1 and config.dropout:
        options["dropout"] = config.dropout
    return layer(width, config.hidden_size, config.num_layers, **options)


_MOST_MEMBERS = 100


def check_members(kind: str, members: int) -> None:
    """Raise ValueError unless so many networks of a kind can be averaged."""
    if not 1 <= members <= _MOST_MEMBERS or (members > 1 and catalogue.kind_of(kind).trivial):
        raise ValueError(f"members must be 1 to {_MOST_MEMBERS}, 1 for {kind}; got {members}")


def check_network_options(
    dropout: float, recurrent_dropout: float, init: str, embedding: int
) -> None:
    """Raise ValueError for an invalid option of a network."""
    for name, value in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1; got {value}")
    by_name(init)
    if embedding < 0:
        raise ValueError(f"embedding must be 0 or more, got {embedding}")


def embedding_width(codes: int) -> int:
    """Embedding size for a number of categories (rule of fast.ai, 1.6 n^0.56)."""
    return min(128, max(1, round(1.6 * codes**0.56)))


def elements_of_matrices(module: nn.Module) -> int:
    """Number of elements in the matrices of a module, except embeddings, which are looked up."""
    looked_up = {m.weight for m in module.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in module.parameters() if p.ndim == 2 and p not in looked_up)
