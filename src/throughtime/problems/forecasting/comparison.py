"""Comparison of networks that forecast windows of a table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from throughtime import __version__
from throughtime.catalogue import kind_of, opponents, reference_of
from throughtime.comparison.cards import shown, shown_file, shown_names
from throughtime.comparison.experiment import Evaluation, Experiment
from throughtime.comparison.measures import WORDS, root
from throughtime.comparison.sizes import with_chosen
from throughtime.data.tables.forecast_problem import Problem
from throughtime.hyperparameters import Hyperparameters
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.problems.forecasting.memory import context_of, diagnosis_of
from throughtime.problems.forecasting.networks import (
    Forecaster,
    ModelConfig,
    Network,
    build,
    parameter_count,
)
from throughtime.problems.forecasting.normalizer import LEAST_SPREAD, NORMALIZATIONS, Normalizer
from throughtime.problems.forecasting.simple import Linear, fitted_linear
from throughtime.problems.forecasting.training import (
    MEASURES,
    Forecasting,
    StreamedForecasting,
    forecasts,
    residuals,
)
from throughtime.runs import Sample
from throughtime.specs import DataSpec
from throughtime.training.processes import Team

_DRAWN = 300  # origins of the sample plotted in a report
_CURVE = 512  # windows of the context curve
_EXAMINED = 64  # windows of a diagnosis


class ForecastingExperiment(Experiment):
    """The experiment of a forecasting problem; see `Experiment`."""

    metrics = MEASURES
    normalizations = NORMALIZATIONS

    def __init__(self, problem: Problem, metric: str = "") -> None:
        self.problem = problem
        self.record = problem.record
        self.metric = metric or problem.metric
        self.measures = (self.metric, *(m for m in MEASURES if m != self.metric))
        self.unit = f"{WORDS[self.metric]}, {problem.unit(self.metric)}"
        self.reference = reference_of(self.trivial_kinds())

    @property
    def _scale(self) -> torch.Tensor:
        return self.problem.error_scale(self.metric)

    def with_share(self, share: float) -> Experiment:
        """The latest part of the training part, as if the record had begun later."""
        table, parts = self.problem.table, self.problem.parts
        begins = table.times[parts.training.starts.numpy()]
        begin = np.quantile(begins, 1 - share)
        index = torch.from_numpy(np.flatnonzero(begins >= begin))
        rows = (table.known < parts.borders[0]) & table.usable & (table.times >= begin)
        fewer = replace(
            parts,
            training=parts.training.some(index),
            training_rows=parts.training.values[torch.from_numpy(rows)],
        )
        record = replace(self.record, windows=(len(index), *self.record.windows[1:]))
        problem = replace(self.problem, parts=fewer, folds=(), record=record, stream=None)
        return ForecastingExperiment(problem, self.metric)

    def folds(self) -> list[Experiment]:
        parts = self.problem.folds or (self.problem.parts,)
        return [
            ForecastingExperiment(replace(self.problem, parts=p, folds=()), self.metric)
            for p in parts
        ]

    def trivial_kinds(self) -> list[str]:
        return [kind for kind in opponents("forecasts") if self._admits(kind)]

    def _admits(self, kind: str) -> bool:
        """Whether context and season suffice, and the forecast suits such targets."""
        targets = self.problem.parts.training_rows[:, : len(self.problem.table.targets)]
        try:
            with torch.device("meta"):
                model = build(self.config(kind, Hyperparameters(normalize="none"), 1))
        except ValueError:
            return False
        return model.suits(targets)

    @property
    def memory_span(self) -> int:
        return self.problem.plan.context

    def config(
        self, kind: str, chosen: Hyperparameters, parameters: int, output: str = ""
    ) -> ModelConfig:
        config = config_for(self.problem, kind, chosen, parameters, output or "point")
        try:
            if kind_of(kind).trivial:
                parameter_count(config)
        except ValueError:  # a season longer than the context of networks
            return replace(config, context=self.problem.plan.past)
        return config

    @property
    def wider(self) -> tuple[int, ...]:
        return self.problem.plan.wider

    def parameters(self, config: ModelConfig) -> int:
        return parameter_count(config)

    def build(self, config: ModelConfig) -> Forecaster:
        model = build(config)
        parts = self.problem.parts
        rows = parts.training_rows[:, : config.numbers]
        if isinstance(model, Network):
            model.normalizer.fit(rows)
        if isinstance(model, Linear):
            windows = (parts.training, parts.validation)
            return fitted_linear(config, rows, *windows, self._scale)
        plan = self.problem.plan
        contexts = sorted({plan.context, *plan.wider, plan.past})
        found = [build(c) for c in model.alternatives(contexts, plan.seasons)]
        return min(found, key=self._validation_error) if len(found) > 1 else model

    def _validation_error(self, model: Forecaster) -> float:
        found = residuals(model, self.problem.parts.validation, self._scale)
        return _total(_errors(found, self.metric), self.metric)

    def task(
        self,
        model: Network,
        batch_size: int,
        seed: int,
        decided_by: str = "",
        team: Team | None = None,
    ) -> Forecasting:
        stream = self.problem.stream
        kind: Any = Forecasting if stream is None else StreamedForecasting
        return kind(
            model,
            self.problem.parts.training if stream is None else stream,
            self.problem.parts.validation,
            error_scale=self.problem.error_scale(decided_by or self.metric),
            batch_size=batch_size,
            seed=seed,
            decided_by=decided_by or self.metric,
            team=team,
        )

    def measured(self, model: Forecaster) -> Evaluation:
        parts = self.problem.parts
        plain = residuals(model, parts.test, torch.ones(1))  # NaN where nothing was observed
        found = self._scaled(plain, self.metric)
        sampled = forecasts(model, parts.test.some(self._drawn()[0]))
        return Evaluation(
            validation_error=self._validation_error(model),
            test_error=_total(found, self.metric),
            error_by_step=np.array([_total(step, self.metric) for step in found.T]),
            error_by_item=self._by_time(found),
            error_by_series=self._by_series(found),
            forecast=tuple(sampled[:, -1, 0].tolist()),
            measures={m: _total(self._scaled(plain, m), m) for m in self.metrics},
        )

    def _scaled(self, plain: torch.Tensor, metric: str) -> torch.Tensor:
        """Errors of test forecasts [N, horizon] from forecast minus truth [N, horizon, K]."""
        test = self.problem.parts.test
        scale = test.scale(torch.arange(len(test)), self.problem.error_scale(metric))
        return _errors(plain / scale, metric)

    def _by_series(self, found: torch.Tensor) -> dict[str, float]:
        """The error of each of several series that have test windows."""
        series, starts = self.problem.table.series, self.problem.parts.test.starts
        if len(series) == 1:
            return {}
        inside = {s.name: found[(starts >= s.start) & (starts < s.stop)] for s in series}
        return {n: _total(own, self.metric) for n, own in inside.items() if own.isfinite().any()}

    def context(self, model: Forecaster) -> ContextRecord | None:
        if not isinstance(model, Network):
            return None
        windows = self.problem.parts.validation
        index = windows.spaced(_CURVE)
        scale = windows.scale(index, self._scale)
        return context_of(model, *windows.batch(index), scale)

    def diagnosis(self, model: Forecaster) -> Diagnosis | None:
        return diagnosis_of(model, *self.problem.parts.training.spread(_EXAMINED))

    def one_answer(self, model: Forecaster) -> Callable[[], object]:
        window, _ = self.problem.parts.test.batch(torch.tensor([0]))
        return lambda: model(window)

    def spec(self) -> DataSpec:
        return self.problem.table.spec

    def card(self, model: Forecaster, headline: str) -> str:
        return model_card(self.problem, headline, model)

    def sample(self, normalize: str) -> Sample:
        table, plan, test = self.problem.table, self.problem.plan, self.problem.parts.test
        drawn, series = self._drawn()
        starts = test.starts[drawn].numpy()
        forecast_rows = starts + plan.past + plan.horizon - 1
        shown = test.batch(drawn[-1:])[0]
        rows = np.arange(starts[-1] + plan.past - plan.context, starts[-1] + plan.past)
        # the window as input of a network that sees all of it
        numbers = len(table.columns) - len(table.categories)
        normalizer = Normalizer(
            normalize, numbers, table.fixed, floors=self.problem.floors[:numbers]
        )
        normalizer.fit(self.problem.parts.training_rows[:, :numbers])
        window = shown[:, plan.past - plan.context : plan.past, :numbers]
        center, spread = normalizer.frame(window)
        scaled = (window - center) / spread
        return Sample(
            times=tuple(table.clock.stamp(table.times[forecast_rows])),
            truth=tuple(table.values[forecast_rows, 0].tolist()),
            target=table.targets[0],
            series=series,
            context_times=tuple(table.clock.stamp(table.times[rows])),
            context_values=tuple(window[0, :, 0].tolist()),
            context_scaled=tuple(scaled[0, :, 0].tolist()),
        )

    def _by_time(self, found: torch.Tensor) -> np.ndarray:
        """One value for each time that was forecast, of all series and origins together.

        Forecasts of the same time from several origins meet the same surprise. Their mean over
        times is the mean over all forecasts.
        """
        errors = found.flatten().numpy()
        there = ~np.isnan(errors)
        errors = root(errors[there]) if self.metric == "rmse" else errors[there]
        plan = self.problem.plan
        rows = self.problem.parts.test.starts.unsqueeze(1) + plan.past + torch.arange(plan.horizon)
        first, last = int(rows.min()), int(rows.max()) + 1
        _, number = np.unique(self.problem.table.times[first:last], return_inverse=True)
        at = number[rows.flatten().numpy()[there] - first]
        _, at = np.unique(at, return_inverse=True)
        sums = np.bincount(at, weights=errors)
        return sums * (len(sums) / len(errors))

    def _drawn(self) -> tuple[torch.Tensor, str]:
        """Indices [n] of the test windows to plot, and the name of their series."""
        plan, table = self.problem.plan, self.problem.table
        starts = self.problem.parts.test.starts.numpy()
        series = table.series
        scored = table.scored[starts + plan.past + plan.horizon - 1, 0]
        scored = scored | (not scored.any())
        inside = [(starts >= s.start) & (starts < s.stop) & scored for s in series]
        most = max(range(len(inside)), key=lambda i: int(inside[i].sum()))
        index = np.flatnonzero(inside[most])[-_DRAWN:]
        return torch.from_numpy(index), series[most].name


def _total(found: torch.Tensor, metric: str) -> float:
    """A measure from errors, NaN where nothing was observed."""
    return float(found.nanmean()) ** (0.5 if metric == "rmse" else 1.0)


def _errors(scaled: torch.Tensor, metric: str) -> torch.Tensor:
    """Errors [N, horizon] from scaled differences [N, horizon, K], mean over targets."""
    return (scaled.square() if metric == "rmse" else scaled.abs()).nanmean(dim=-1)


def config_for(
    problem: Problem, kind: str, chosen: Hyperparameters, parameters: int, output: str = "point"
) -> ModelConfig:
    """The configuration of a model for this problem with at most ``parameters`` parameters."""
    config = ModelConfig(
        kind,
        chosen.context or problem.plan.context,
        problem.plan.horizon,
        columns=len(problem.table.columns),
        targets=len(problem.table.targets),
        normalize=chosen.normalize or NORMALIZATIONS[0],
        season=problem.plan.season,
        fixed=problem.table.fixed,
        known=problem.table.known_ahead,
        categories=tuple(len(words) for words in problem.table.categories),
        output=output,
        least_spread=LEAST_SPREAD,
        floors=problem.floors[: len(problem.table.columns) - len(problem.table.categories)],
        plan_head=problem.table.known_ahead > 0,
    )
    return with_chosen(config, chosen, parameters, parameter_count)


def model_card(problem: Problem, headline: str, model: Forecaster) -> str:
    """The README of a model's folder."""
    record, config = problem.record, model.config
    return f"""# {config.kind}: {shown_names(record.targets)}, {config.horizon} steps ahead

Forecasts {shown_names(record.targets)} {config.horizon} steps of {record.step} ahead from the last
{config.context}; further inputs: {shown_names(record.inputs)}.

- Trained by throughtime {__version__} on {record.windows[0]} windows of {shown_file(record.path)}
  (SHA-256 {record.fingerprint[:16]}...), before {record.borders[0]}.
- {model.parameter_count()} parameters, normalization: {config.normalize}.
- {shown(headline) or "One trial of a comparison."}

Use it with `throughtime predict FOLDER new.csv -o out.csv`. It uses only its input columns, and its
error was measured on a single period.
"""
