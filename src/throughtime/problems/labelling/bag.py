"""A simple prediction for sequences that ignores their order: a linear model of a bag of values."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.problems.labelling.networks import SequenceConfig, SequenceNetwork

_MOST_FEATURES = 20_000
_MOST_NUMBERS = 40_000_000  # of the matrix of features; more sequences are left out
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
_ROUNDS = 100  # of the optimizer
_BATCH = 512  # sequences


class Bag(SequenceNetwork):
    """A linear model of what a sequence contains, whatever its order.

    Features: mean, standard deviation, minimum and maximum of each numeric column, and how often
    each category occurs. Classes by logistic regression, numbers by ridge regression.
    """

    feature_center: Tensor
    feature_spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        if config.every_step or config.binary:
            raise ValueError(f"{config.kind} is for one label or number of a whole sequence")
        features = 4 * config.numbers + sum(config.categories)
        if features > _MOST_FEATURES:
            raise ValueError(f"{features} features are too many for {config.kind}")
        for name, shape, fill in (
            ("feature_center", (features,), torch.zeros),
            ("feature_spread", (features,), torch.ones),
            ("weight", (features, config.outputs), torch.zeros),
            ("bias", (config.outputs,), torch.zeros),
        ):
            self.register_buffer(name, fill(shape, dtype=torch.float64))

    def summary(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features of sequences x [T,B,C], [B,F]; a value that is NaN does not count."""
        steps, batch, _ = x.shape
        if lengths is None:
            lengths = torch.full((batch,), steps)
        inside = torch.arange(steps).unsqueeze(1) < lengths
        numbers = x[..., : self.config.numbers].double()
        there = inside.unsqueeze(-1) & ~numbers.isnan()
        count = there.sum(dim=0).clamp(min=1)
        known = torch.where(there, numbers, 0.0)
        mean = known.sum(dim=0) / count
        squares = torch.where(there, (numbers - mean).square(), 0.0)
        low = torch.where(there, numbers, torch.inf).amin(dim=0)
        high = torch.where(there, numbers, -torch.inf).amax(dim=0)
        parts = [mean, (squares.sum(dim=0) / count).sqrt()]
        parts += [torch.where(part.isinf(), 0.0, part) for part in (low, high)]
        for number, size in enumerate(self.config.categories):
            codes = x[..., self.config.numbers + number].long().clamp(0, size - 1)
            counts = torch.zeros(batch, size, dtype=torch.float64)
            counts.scatter_add_(1, codes.T, inside.T.double())
            parts.append(counts / lengths.clamp(min=1).unsqueeze(1))
        return torch.cat(parts, dim=1)

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        features = (self.summary(x, lengths) - self.feature_center) / self.feature_spread
        return (features @ self.weight + self.bias).float()

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        outputs = [self.scaled_answer(x[: t + 1]) for t in range(len(x))]  # of what was seen so far
        return torch.stack(outputs), None

    def parameter_count(self) -> int:
        return self.weight.numel() + self.bias.numel()

    def multiply_adds(self, steps: int = 1) -> int:
        return self.weight.numel()

    def learn(self, problem: SequenceProblem) -> None:
        """Fit the training part; the penalty has the lowest validation loss."""
        most = max(_BATCH, _MOST_NUMBERS // self.weight.shape[0])
        x, wanted = self._data(problem, problem.training[:most])
        self.feature_center.copy_(x.mean(dim=0))
        spread = x.std(dim=0, correction=0)
        self.feature_spread.copy_(torch.where(spread > 1e-12, spread, 1.0))
        x = (x - self.feature_center) / self.feature_spread
        new, answers = self._data(problem, problem.validation)
        new = (new - self.feature_center) / self.feature_spread
        found: list[tuple[float, Tensor, Tensor]] = []
        for penalty in _PENALTIES:
            weight, bias = self._fitted(x, wanted, penalty)
            loss = float(self.loss_of_answer((new @ weight + bias).float(), answers))
            found.append((loss, weight, bias))
        _, weight, bias = min(found, key=lambda entry: entry[0])
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def _data(self, problem: SequenceProblem, index: Tensor) -> tuple[Tensor, Tensor]:
        """Features and answers of the sequences whose answer is known."""
        found: list[tuple[Tensor, Tensor]] = []
        for part in index.split(_BATCH):
            x, lengths, wanted = problem.batch(part)
            known = self.output.known(wanted)
            found.append((self.summary(x[:, known], lengths[known]), wanted[known]))
        features, answers = zip(*found, strict=True)
        return torch.cat(features), torch.cat(answers)

    def _fitted(self, x: Tensor, wanted: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
        if not self.config.classes:
            y = ((wanted - self.answer_center) / self.answer_spread).double()
            penalized = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
            return torch.linalg.solve(penalized, x.T @ (y - y.mean(dim=0)) / len(x)), y.mean(dim=0)
        weight = torch.zeros_like(self.weight, requires_grad=True)
        bias = torch.zeros_like(self.bias, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe"
        )
        weights = getattr(self.output, "weight", None)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(x @ weight + bias, wanted, weight=weights)
            loss = loss + penalty * weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)  # pyright: ignore[reportArgumentType]
        return weight.detach(), bias.detach()
