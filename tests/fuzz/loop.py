"""A recurrent layer written a second time: one sample, one step, one direction at a time.

Nothing here is taken from the package. It follows the papers in float64 and leaves gradients to
autograd; it is slow, short, and knows of no batch. The fuzzer holds every form of a call to it.
"""

import torch
from torch import Tensor

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def run(layer, x: Tensor, h0: Tensor, c0: Tensor | None, lengths=None, resets=None):
    """Output [T,B,D*P], h [L*D,B,P] and c [L*D,B,H] of a layer in evaluation mode.

    ``x`` [T,B,I], ``h0`` [L*D,B,P], ``c0`` [L*D,B,H]; ``lengths`` a number for each sample;
    ``resets`` a set of (t, b) at which a new sequence begins.
    """
    steps, batch, _ = x.shape
    lengths = lengths or [steps] * batch
    resets = resets or set()
    directions = 2 if layer.bidirectional else 1
    last_h, last_c = [], []
    for number in range(layer.num_layers):
        halves = []
        for backwards in range(directions):
            row = number * directions + backwards
            weights = _weights(layer, number, backwards)
            columns = []
            for b in range(batch):
                h, c = h0[row, b], None if c0 is None else c0[row, b]
                outputs = [torch.zeros_like(h)] * steps
                order = range(lengths[b])
                for t in reversed(order) if backwards else order:
                    border = t + 1 if backwards else t
                    if (border, b) in resets and border < lengths[b]:
                        h, c = torch.zeros_like(h), None if c is None else torch.zeros_like(c)
                    h, c = _step(layer, weights, x[t, b], h, c)
                    outputs[t] = h
                last_h.append((row, b, h))
                last_c.append((row, b, c))
                columns.append(torch.stack(outputs) if steps else x.new_zeros(0, len(h)))
            halves.append(torch.stack(columns, dim=1) if batch else x.new_zeros(steps, 0, 0))
        x = torch.cat(halves, dim=-1)
    rows = layer.num_layers * directions
    h = torch.stack([h for _, _, h in last_h]).reshape(rows, batch, -1)
    c = None if c0 is None else torch.stack([c for _, _, c in last_c]).reshape(rows, batch, -1)
    return x, h, c


def _weights(layer, number: int, backwards: int) -> dict[str, Tensor]:
    suffix = f"_l{number}" + "_reverse" * backwards
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    names += ("norm_ih", "norm_hh", "norm_c", "norm_bias_c")
    return {name: getattr(layer, name + suffix) for name in names if hasattr(layer, name + suffix)}


def _step(layer, w, x, h_before, c_before):
    """One step of one sample: x [I], h [P], c [H] or None."""
    from_x, from_h = w["weight_ih"] @ x, w["weight_hh"] @ h_before
    if "norm_ih" in w:
        from_x, from_h = _norm(from_x) * w["norm_ih"], _norm(from_h) * w["norm_hh"]
    if "bias_ih" in w:
        from_x, from_h = from_x + w["bias_ih"], from_h + w["bias_hh"]
    size, keep = layer.hidden_size, layer.zoneout
    part = [slice(k * size, (k + 1) * size) for k in range(4)]
    c = None
    if layer.cell_type.name == "RNN":
        h = from_x + from_h
        h = h.clamp(min=0) if layer.nonlinearity == "relu" else h.tanh()
    elif layer.cell_type.name == "GRU":
        reset = (from_x + from_h)[part[0]].sigmoid()
        update = (from_x + from_h)[part[1]].sigmoid()
        new = (from_x[part[2]] + reset * from_h[part[2]]).tanh()
        h = new + update * (h_before - new)
    else:
        total = from_x + from_h
        write, keep_cell, show = (total[part[k]].sigmoid() for k in (0, 1, 3))
        c = keep_cell * c_before + write * total[part[2]].tanh()
        seen = c
        if "norm_c" in w:
            seen = _norm(c) * w["norm_c"] + w["norm_bias_c"]
        h = show * seen.tanh()
        if "weight_hr" in w:
            h = w["weight_hr"] @ h
        c = keep * c_before + (1 - keep) * c
    h = keep * h_before + (1 - keep) * h
    if layer.clip_hidden_grad and h.requires_grad:
        bound = layer.clip_hidden_grad
        h = h * 1  # a tensor of its own, whose gradient is that of this step alone
        h.register_hook(lambda g: g * (bound / g.norm()).clamp(max=1) if g.norm() > 0 else g)
    return h, c


def _norm(part: Tensor) -> Tensor:
    spread = ((part - part.mean()) ** 2).mean()
    return (part - part.mean()) / (spread + 1e-5).sqrt()
