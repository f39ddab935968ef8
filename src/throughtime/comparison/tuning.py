"""Which choices to try for a network: known good ones first, then Optuna's suggestions.

Trials are suggested in rounds, from the results of finished rounds alone and with a sampler seeded
by the round. So a killed comparison suggests the same trials again, whatever ran side by side.
"""

import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from throughtime.catalogue import kind_of
from throughtime.comparison.experiment import LEAST_SPAN, Experiment
from throughtime.comparison.sizes import applicable
from throughtime.hyperparameters import Hyperparameters

ROUND = 5  # trials that are suggested together
_SHARES = (0.25, 0.5, 1.0)  # of the bound on parameters


def initializations(experiment: Experiment, kind: str) -> tuple[str, ...]:
    """Initializations to try for a kind: torch's first, then those for a longer memory."""
    if not kind_of(kind).recurrent or not kind_of(kind).layer:
        return ()
    if not kind_of(kind).gated:
        return ("torch", "orthogonal")
    span = experiment.memory_span
    return ("torch", "forget-bias:1", *([f"chrono:{span}"] if span >= LEAST_SPAN else []))


def known_good(experiment: Experiment, kind: str) -> list[Hyperparameters]:
    """Choices that often work, the most usual first."""
    usual = experiment.usual(kind)
    found = [usual]
    inits = initializations(experiment, kind)
    longest, plain = (inits[-1], inits[0]) if inits else (None, None)
    found.append(Hyperparameters(learning_rate=1e-2, init=longest).over(usual))
    found.append(Hyperparameters(learning_rate=3e-3, init=longest, dropout=0.1).over(usual))
    found.append(Hyperparameters(learning_rate=1e-3, init=plain).over(usual))
    others = [n for n in experiment.normalizations if n not in ("none", usual.normalize)]
    if others:
        found.append(Hyperparameters(normalize=others[0]).over(usual))
    if experiment.whole_sequences and inits:
        found.append(Hyperparameters(learning_rate=1e-2, pooling="mean").over(usual))
    return found


def suggested(
    experiment: Experiment,
    kind: str,
    given: Hyperparameters,
    finished: Sequence[tuple[Hyperparameters, float]],
    first: int,
    count: int,
    seed: int,
) -> list[Hyperparameters]:
    """The choices of the next trials of a kind.

    Args:
        experiment: The problem.
        kind: The kind of network.
        given: Choices of the user, which are not tuned.
        finished: The trials of finished rounds, in order, with their validation error; without
            those that diverged.
        first: Number of the first trial to suggest.
        count: Number of trials to suggest.
        seed: Seed of the comparison.
    """
    given = applicable(given, kind)
    known = list(dict.fromkeys(given.over(one) for one in known_good(experiment, kind)))
    fixed = known[first : first + count]
    missing = count - len(fixed)
    if not missing:
        return fixed
    round_seed = zlib.crc32(f"{seed} {kind} {first}".encode())
    return fixed + _sampled(experiment, kind, given, finished, missing, round_seed)


def _sampled(
    experiment: Experiment,
    kind: str,
    given: Hyperparameters,
    finished: Sequence[tuple[Hyperparameters, float]],
    count: int,
    seed: int,
) -> list[Hyperparameters]:
    """Choices suggested by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""
    import optuna
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    usual = given.over(experiment.usual(kind))
    space = _space(experiment, kind, given)
    if not space:
        return []
    # constant_liar: the suggestions of a round differ, although none of them has a result yet
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    for chosen, error in finished:
        values = {name: getattr(chosen, name) for name in space}
        with suppress(ValueError, TypeError):  # a known good choice that is not in the space
            done = create_trial(params=values, distributions=space, value=error)
            study.add_trial(done)
    asked = [study.ask(space) for _ in range(count)]
    return [Hyperparameters(**trial.params).over(usual) for trial in asked]


def _space(experiment: Experiment, kind: str, given: Hyperparameters) -> dict[str, Any]:
    """Optuna's distributions of the choices that are not given."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    usual = experiment.usual(kind)
    size = usual.batch_size or 1
    space: dict[str, Any] = {
        "learning_rate": FloatDistribution(5e-4, 2e-2, log=True),
        "batch_size": CategoricalDistribution(sorted({max(4, size // 2), size, 2 * size})),
        "size": CategoricalDistribution(_SHARES),
        "dropout": CategoricalDistribution([0.0, 0.1, 0.3]),
    }
    normalizations = [n for n in experiment.normalizations if n != "none"]
    if len(normalizations) > 1:
        space["normalize"] = CategoricalDistribution(normalizations)
    inits = initializations(experiment, kind)
    if inits:
        space["init"] = CategoricalDistribution(inits)
        space["layers"] = CategoricalDistribution([1, 2])
        space["recurrent_dropout"] = CategoricalDistribution([0.0, 0.1, 0.3])
        if experiment.whole_sequences:
            space["pooling"] = CategoricalDistribution(["last", "mean"])
    if given.hidden_size is not None:
        del space["size"]
    return {name: d for name, d in space.items() if getattr(given, name) is None}
