"""Layers and calls for generated tests."""

from hypothesis import strategies as st


@st.composite
def layer_cases(draw, most_hidden, sizes):
    """A cell, its hidden size, options that torch.nn lacks among them; T, B, I within `sizes`, a
    range each; which steps there are; a seed."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    hidden = draw(st.integers(2, most_hidden))
    options = {
        "num_layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "recurrent_dropout": draw(st.sampled_from([0.0, 0.4])),
        "zoneout": draw(st.sampled_from([0.0, 0.3])),
        "clip_hidden_grad": draw(st.sampled_from([0.0, 0.5])),
        "checkpoint": draw(st.booleans()),
    }
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM" and draw(st.booleans()):
        options |= {"proj_size": draw(st.integers(1, hidden - 1)), "zoneout": 0.0}
    drawn = tuple(draw(st.integers(low, high)) for low, high in sizes)
    steps = draw(st.sampled_from(["all", "lengths", "reset", "both", "packed"]))
    return kind, hidden, options, drawn, steps, draw(st.integers(0, 10**6))
