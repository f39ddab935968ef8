"""The page of one model: everything that was seen, and nothing that could be run."""

from dataclasses import replace

import pytest

from throughtime.network_records import ContextRecord, Diagnosis, Finding, LayerDiagnosis
from throughtime.report.inspection import headline, write_inspection
from throughtime.runs import InspectionRecord, SeenRecord

FINDING = Finding(
    "vanishing",
    "of the gradient at h_t 1e-09 arrives 3 steps back",
    1e-9,
    1.2e-7,
    "machine epsilon",
    "body.l0, lag 2",
    ("use a GRU", "say so"),
)
LAYER = LayerDiagnosis(
    "body.l0", "vanishing", (FINDING,), {"dead units (share)": 0.125}, (1.0, 1e-4, 1e-8, None)
)
RECORD = InspectionRecord(
    version="9.9",
    command="throughtime inspect model <b>.csv",
    model="folder/model",
    kind="gru",
    hidden_size=2,
    parameters=1234,
    data="some/where/<b>.csv",
    fingerprint="f" * 64,
    windows=77,
    step="7 days",
    unit="mean absolute error, y",
    diagnosis=Diagnosis("vanishing", (LAYER,), (), ("a <cell> cannot be seen",)),
    lyapunov={"body.l0": (-0.1, None)},
    time_scales={"body.l0": (2.0, None)},
    context=ContextRecord((1, 2, 4), (3.0, 1.05, 1.0), (0.1, 0.1, 0.1), 2),
    target="y",
    times=("a", "b", "c", "d"),
    input=(1.0, 2.0, 3.0, 4.0),
    seen={"body.l0": SeenRecord({"hidden state": ((0.1, 0.2),) * 4}, (0.1, 0.2, 0.3, 0.4))},
)


def test_the_page_tells_all_that_was_seen():
    page = write_inspection(RECORD)
    for part in (
        "<h1>GRU on &lt;b&gt;.csv</h1>",
        "1,234 parameters, 2 hidden units; 77 windows,\none step every 7 days",
        FINDING.evidence,
        "<li>use a GRU</li><li>say so</li>",
        "threshold 1.2e-07: machine epsilon",
        "body.l0: vanishing</th>",
        "dead units (share)</td><td>0.125",
        "How many steps it needs",
        "How far back training reaches",
        "How fast changes of the state die out",
        "States and gates: body.l0",
        "Gradient of the loss: body.l0",
        "Step by step: body.l0",
        "a &lt;cell&gt; cannot be seen",
        "throughtime 9.9",
    ):
        assert part in page, part
    assert "<b>.csv" not in page.replace("\\u003cb\\u003e", "")
    assert "http://" not in page.split("</script>")[-1]


@pytest.mark.parametrize(
    "change, told",
    [
        (
            {},
            "Not healthy: body.l0 vanishing. Its error with the last 2 of 4 steps is as low as",
        ),
        (
            {"diagnosis": Diagnosis("healthy", (replace(LAYER, verdict="healthy"),), (), ())},
            "Healthy. Its error with the last",
        ),
        (
            {
                "diagnosis": Diagnosis("healthy", (), (), ()),
                "context": replace(RECORD.context, horizon=4),
            },
            "No recurrent layer to examine. It needs all of its 4 steps: a longer context",
        ),
        ({"windows": 9}, "Not healthy: body.l0 vanishing. 9 windows are too few to find"),
    ],
)
def test_the_headline_is_verdict_and_memory(change, told):
    assert headline(replace(RECORD, **change)).startswith(told)


def test_a_model_without_memory_has_a_page_too():
    plain = replace(
        RECORD, kind="dense", diagnosis=Diagnosis("healthy", (), (), ()), lyapunov={}, seen={},
        time_scales={}, hidden_size=0,
    )  # fmt: skip
    page = write_inspection(plain)
    assert (
        "How many steps it needs" in page
        and "States and gates" not in page
        and "hidden units" not in page
    )
