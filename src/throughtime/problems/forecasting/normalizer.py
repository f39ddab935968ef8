"""Normalization of the inputs of a forecasting network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("window", "global", "none")
LEAST_SPREAD = 0.1  # of a window, relative to the spread of the training part


class Normalizer(nn.Module):
    """Normalization of network inputs.

    ``window``: each window relative to its last value and its own standard deviation (reversible
    instance normalization, Kim et al. 2022, with the last value in place of the mean, so that a
    changing level does no harm). ``global``: by mean and standard deviation of the training part.
    ``none``: unchanged values. The last `fixed` columns are never normalized by the window.
    ``least_spread``: the least standard deviation of a window, relative to the training part's, or
    to ``floors``, the standard deviation of each column within a quiet series.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self,
        how: str,
        columns: int,
        fixed: int = 0,
        least_spread: float = LEAST_SPREAD,
        floors: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.least_spread = least_spread
        self.floors = tuple(floors)
        self.how = how
        self.fixed = fixed
        self.register_buffer("center", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(columns, dtype=torch.float64))

    def fit(self, rows: Tensor) -> None:
        """Set mean and spread from training rows [R, C]; a constant column has spread 1."""
        self.center.copy_(rows.mean(dim=0))
        spread = rows.std(dim=0, correction=0)
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def frame(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Center and spread for a window [B, T, C], each [B, 1, C] or [C]."""
        if self.how == "none":
            return torch.zeros_like(self.center), torch.ones_like(self.spread)
        if self.how == "global":
            return self.center, self.spread
        spread = window.std(dim=1, keepdim=True, correction=0)
        # windows that stand still (night, a closed shop) would outweigh all others by far
        usual = spread.new_tensor(self.floors) if self.floors else self.spread
        center, spread = window[:, -1:], torch.maximum(spread, self.least_spread * usual)
        if self.fixed:
            moving = len(self.center) - self.fixed
            fixed = torch.stack([self.center, self.spread])[:, moving:]
            fixed = fixed[:, None, None].expand(-1, len(window), 1, -1)
            center = torch.cat([center[..., :moving], fixed[0]], dim=-1)
            spread = torch.cat([spread[..., :moving], fixed[1]], dim=-1)
        return center, spread
