"""Names of networks and outputs that Python callers pass by name, entry or class."""

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
    """The names of kinds, in catalogue order; None: all kinds built into throughtime."""
    if networks is None:
        return tuple(k for k in catalogue.names(trained=True) if not _added(k))
    if not networks or isinstance(networks, str):
        raise InputError("--networks", repr(networks), "give a list of one or more")
    requested = [name_of_network(network) for network in networks]
    twice = sorted({kind for kind in requested if requested.count(kind) > 1})
    if twice:
        raise InputError("--networks", f"{twice[0]!r} is named twice", "name each once")
    return tuple(kind for kind in catalogue.names(trained=True) if kind in requested)


def name_of_network(
    network: str | NetworkKind | type[RecurrentLayer], option: str = "--networks"
) -> str:
    """The name of a kind; registers the user's own kind or layer."""
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
        found = f"{network!r} is not a network"
        raise InputError(option, found, "give a name, a NetworkKind or a RecurrentLayer class")
    try:
        return catalogue.register_network(network).name
    except ValueError as error:
        raise InputError(option, str(error), "or pass the built-in kind by its name") from None


def name_of_output(output: str | Output) -> str:
    """The name of an output; registers the user's own output."""
    if isinstance(output, str):
        return output
    try:
        return register_output(output).name
    except (TypeError, ValueError) as error:
        raise InputError("--output", str(error), "see throughtime.nn.outputs") from None


def _added(name: str) -> bool:
    return name in [kind.name for kind in catalogue.registered()]
