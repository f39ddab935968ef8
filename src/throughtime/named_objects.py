"""Networks and outputs as Python callers give them: by name, by entry, or as classes."""

import inspect
from collections.abc import Sequence

from throughtime import catalogue
from throughtime.catalogue import NetworkKind
from throughtime.errors import InputError, one_of
from throughtime.nn.layers import RecurrentLayer
from throughtime.nn.outputs import Output, register_output


def names_of_networks(
    networks: Sequence[str | NetworkKind | type[RecurrentLayer]] | None,
) -> tuple[str, ...]:
    """The names of kinds, in the catalogue's order; None: all of the project's."""
    if networks is None:
        return tuple(k for k in catalogue.names(trained=True) if not _added(k))
    if not networks or isinstance(networks, str):
        raise InputError("--networks", repr(networks), "give a list of one or more")
    asked = [name_of_network(network) for network in networks]
    twice = sorted({kind for kind in asked if asked.count(kind) > 1})
    if twice:
        raise InputError("--networks", f"{twice[0]!r} is named twice", "name each once")
    return tuple(kind for kind in catalogue.names(trained=True) if kind in asked)


def name_of_network(
    network: str | NetworkKind | type[RecurrentLayer], option: str = "--networks"
) -> str:
    """The name of a kind; a kind or a layer of the user's own is registered."""
    if isinstance(network, str):
        return one_of(option, network, catalogue.names(trained=True))
    if isinstance(network, type) and issubclass(network, RecurrentLayer):  # pyright: ignore
        for name in catalogue.names(trained=True):
            kind = catalogue.kind_of(name)
            if kind.layer and kind.layer_class() is network:
                return name
        words = (inspect.getdoc(network) or f"The user's {network.__name__}.").splitlines()[0]
        name = network.__name__.lower()
        network = NetworkKind(name, network.__name__, words, layer=network)
    if not isinstance(network, NetworkKind):  # pyright: ignore[reportUnnecessaryIsInstance]
        found = f"{network!r} is no network"
        raise InputError(option, found, "give a name, a NetworkKind or a RecurrentLayer class")
    try:
        return catalogue.register_network(network).name
    except ValueError as error:
        raise InputError(option, str(error), "or name the project's by its name") from None


def name_of_output(output: str | Output) -> str:
    """The name of an output; one of the user's own is registered."""
    if isinstance(output, str):
        return output
    try:
        return register_output(output).name
    except (TypeError, ValueError) as error:
        raise InputError("--output", str(error), "see throughtime.nn.outputs") from None


def _added(name: str) -> bool:
    return name in [kind.name for kind in catalogue.registered()]
