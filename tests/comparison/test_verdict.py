"""Verdicts: each outcome, and each sentence, on made-up trials."""

import re
from dataclasses import replace

import numpy as np
import pytest

from throughtime.catalogue import is_trivial
from throughtime.comparison.evidence import exact_interval
from throughtime.comparison.verdict import judge as judge_sized
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.runs import TrialRecord
from throughtime.training.convergence import AT_CHANCE

ORIGINS = 300
PARAMETERS = 100


def judge(trials, horizon=2, **options):
    return judge_sized(trials, horizon, PARAMETERS, **options)


def trial(kind, errors, seed=0, *, validation=None, cost=1000, us=100.0, units=8, size=PARAMETERS):
    errors = None if errors is None else np.asarray(errors, dtype=float)
    trivial = is_trivial(kind)
    mean = None if errors is None else float(errors.mean())
    return TrialRecord(
        kind=kind,
        seed=seed,
        learning_rate=0.0 if trivial else 1e-3,
        hidden_size=0 if trivial else units,
        parameters=0 if trivial else size,
        multiply_adds=0 if trivial else cost,
        training=None,
        validation_error=mean if validation is None or mean is None else validation,
        test_error=mean,
        error_by_step=() if errors is None else (mean, 2 * mean),
        error_by_item=() if errors is None else tuple(errors),
        forecast=(),
        prediction_us=us,
    )


def group(kind, level, seeds=5, noise=0.1, common=0.3, **further):
    """Trials that share most of their noise, as networks on the same origins do."""
    shared = np.random.default_rng(7).normal(0, common, ORIGINS)
    own = np.random.default_rng(sum(kind.encode()))
    return [
        trial(kind, level + shared + own.normal(0, noise, ORIGINS), seed, **further)
        for seed in range(seeds)
    ]


def said(verdict, words):
    return any(words in reason for reason in verdict.reasons)


def test_a_network_that_is_best_is_recommended():
    trials = [*group("persistence", 3, 1), *group("dense", 2), *group("gru", 1)]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("network", "gru", ("gru",))
    assert verdict.headline.startswith("Use GRU: its error is 6")
    assert verdict.headline.endswith("below persistence, the best simple forecast.")
    assert verdict.reference == "persistence"
    assert [c.kind for c in verdict.candidates] == ["gru", "dense", "persistence"]
    best = verdict.candidates[0]
    assert best.low < best.error < best.high
    assert best.relative == pytest.approx(best.error / verdict.candidates[2].error)
    assert best.error_last_step == pytest.approx(2 * best.error)
    assert best.validation_error == pytest.approx(best.error)
    assert "the past matters" in verdict.reasons[0]


def test_every_network_is_put_to_the_test():
    """Validation had chosen GRU, which is no better; that LSTM is, is not lost."""
    trials = [
        *group("persistence", 3, 1),
        *group("gru", 3.0, validation=1.0),
        *group("lstm", 1.0, validation=2.0),
    ]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("network", "lstm", ("lstm",))
    assert said(
        verdict, "Validation chose GRU (1 there; LSTM 2). On the test part LSTM has the lower error"
    )
    assert said(verdict, "more than chance: the two parts disagree.")


def test_validation_chooses_among_those_that_are_better():
    trials = [
        *group("persistence", 3, 1),
        *group("gru", 1.5, validation=1.0),
        *group("lstm", 1.0, validation=2.0),
    ]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("tie", "gru") or verdict.tied[0] == "gru"


def test_validation_chooses_the_trivial_forecast_too():
    trials = [
        *[trial("persistence", t.error_by_item, validation=1.0) for t in group("mean", 3, 1)],
        *[trial("seasonal", t.error_by_item, validation=2.0) for t in group("mean", 2.9, 1)],
        *group("gru", 4),
    ]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("trivial", "persistence")
    assert said(verdict, "Validation chose persistence (1 there; seasonal naive 2)")


def test_every_trivial_forecast_has_to_be_beaten():
    """GRU beats what validation took for the best simple forecast, but not the other."""
    seasonal = group("seasonal", 1.0, 1)[0].error_by_item
    trials = [
        *group("persistence", 3, 1, validation=0.5),
        trial("seasonal", seasonal, validation=3.0),
        *group("gru", 1.0),
    ]
    assert judge(trials).outcome == "trivial"
    assert judge([t for t in trials if t.kind != "seasonal"]).outcome == "network"


def test_what_is_judged_is_the_paired_difference():
    """Hard times are hard for all: intervals overlap by far, the difference excludes 0 by far."""
    trials = [*group("persistence", 5, 1, common=3.0), *group("gru", 4.9, common=3.0)]
    verdict = judge(trials)
    gru, persistence = verdict.candidates
    assert gru.high > persistence.error > persistence.low
    assert (verdict.outcome, verdict.recommended) == ("network", "gru")


def test_a_network_shown_to_be_worse_is_not_tied():
    """By the paired difference, though the two intervals overlap by far."""
    trials = [
        *group("persistence", 9, 1, common=3.0),
        *group("gru", 4.9, common=3.0),
        *group("dense", 5.0, common=3.0, cost=1),
    ]
    verdict = judge(trials, worth=0.01)
    assert verdict.candidates[0].high > verdict.candidates[1].error
    assert (verdict.outcome, verdict.tied) == ("network", ("gru",))
    # a difference of 2 % is shown, but does not matter to whom 5 % do not
    assert judge(trials, worth=0.05).recommended == "dense"


def test_a_difference_that_matters_and_is_not_shown_is_no_tie():
    """Two networks whose seeds scatter: 40 % more error is not called the same."""
    trials = [*group("persistence", 9, 1), *group("gru", 1.0, noise=8.0)]
    trials += group("dense", 1.6, noise=8.0, cost=1)
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("network", "gru")


def test_the_cheaper_of_two_that_tie_is_recommended():
    """Cheaper by multiply-adds, which repeat, not by a clock, which does not."""
    trials = [
        *group("persistence", 3, 1),
        *group("lstm", 1.0, cost=5000, us=200),
        *group("gru", 0.999, cost=7000, us=50),
    ]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("tie", "lstm")
    assert set(verdict.tied) == {"gru", "lstm"}
    assert verdict.headline.startswith("A tie: ")
    assert "Use LSTM, the cheapest" in verdict.headline
    assert said(verdict, "LSTM has the fewest multiply-adds per forecast: 5,000 (GRU 7,000).")


@pytest.mark.parametrize("simpler", ["dense", "window-dense", "rnn", "gru"])
def test_at_equal_cost_the_simpler_is_recommended(simpler):
    trials = [*group("persistence", 3, 1), *group("lstm", 0.999, validation=1.0)]
    trials += group(simpler, 1.0, validation=1.0, cost=1050)
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("tie", simpler)


def test_only_what_beats_the_trivial_forecast_can_be_tied():
    """A cheap network whose seeds scatter is not told from the best, nor from persistence."""
    scattered = [t for s in range(5) for t in group("dense", 0.6 * s + 0.2, 1, cost=1)]
    scattered = [trial("dense", t.error_by_item, s, cost=1) for s, t in enumerate(scattered)]
    trials = [*group("persistence", 2.4, 1), *scattered, *group("gru", 1.2)]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.tied) == ("network", ("gru",))


@pytest.mark.parametrize("level", [2.999, 3.5])
def test_none_beats_the_trivial_forecast(level):
    trials = [*group("seasonal", 3, 1), *group("persistence", 4, 1), *group("gru", level)]
    verdict = judge_sized(trials, 2, PARAMETERS, reference="seasonal")
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("trivial", "seasonal", ())
    assert verdict.headline.startswith("No network beats the simple forecasts: use seasonal naive.")
    assert verdict.reference == "seasonal"


@pytest.mark.parametrize(
    ("window_level", "words"),
    [
        (2, "recurrence helps."),
        (0.5, "recurrent networks do worse here"),
        (1.0, "no difference that can be"),
    ],
)
def test_what_recurrence_adds_is_said(window_level, words):
    trials = [*group("persistence", 4, 1), *group("window-dense", window_level), *group("rnn", 1)]
    assert said(judge(trials), words)


def test_nothing_is_concluded_from_a_network_beyond_the_bound(units=8, size=124):
    dense, rnn = group("dense", 2), group("rnn", 1)
    cramped = group("window-dense", 2, units=units, size=size)
    verdict = judge([*group("persistence", 4, 1), *cramped, *rnn])
    assert verdict.recommended == "rnn"
    assert not said(verdict, "recurrence helps")
    assert said(verdict, "WindowDense has 124 parameters with 8 units, more than the 100")
    # nor that the past matters, if Dense is that network
    cramped = group("dense", 2, units=units, size=size)
    assert not said(judge([*group("persistence", 4, 1), *cramped, *rnn]), "the past matters")
    assert said(judge([*group("persistence", 4, 1), *dense, *rnn]), "the past matters")


def test_a_handful_of_test_times_is_too_little():
    trials = [trial("persistence", [3.0] * 9), trial("gru", [1.0] * 9)]
    verdict = judge(trials, horizon=1)
    assert (verdict.outcome, verdict.recommended) == ("undecided", "gru")
    words = "Too few test times to judge (9): use GRU, by its validation error."
    assert verdict.headline.startswith(words)
    assert verdict.reasons == ()


def scattered(kind, levels, **options):
    """Trainings of which each has another level."""
    found = [group(kind, level, 1, **options)[0] for level in levels]
    return [replace(t, seed=seed) for seed, t in enumerate(found)]


def test_what_the_data_cannot_tell_is_undecided():
    """A gain of a tenth, among errors that scatter more: validation decides, and it is said so."""
    persistence = scattered("persistence", [2.0], common=0.0, noise=4.0, validation=2.0)
    gru = group("gru", 1.8, common=0.0, noise=9.0, validation=1.8)
    verdict = judge([*persistence, *gru])
    assert (verdict.outcome, verdict.recommended) == ("undecided", "gru")
    assert verdict.headline.startswith("Undecided: GRU may be better than the best simple")
    # where validation shows no gain that matters, the simple prediction is used
    same = [replace(t, validation_error=1.95) for t in gru]
    assert judge([*persistence, *same]).recommended == "persistence"


def test_no_gain_is_said_to_be_more_than_all_of_an_error():
    """Two networks on few times of which one is lost: its interval has no bound."""
    rng = np.random.default_rng(0)
    base = 3 + rng.normal(0, 1, 12)
    lost = [trial("dense", base + 40 * rng.random(12) ** 6, seed) for seed in range(3)]
    close = [trial("gru", base + rng.normal(0, 1, 12), seed) for seed in range(3)]
    verdict = judge([trial("persistence", base), *lost, *close], horizon=4)
    assert verdict.outcome == "undecided" and "GRU may be better" in verdict.headline
    (gain,) = re.findall(r"by up to (\d+) %", verdict.headline)
    assert 0 < int(gain) <= 100


def test_one_item_more_is_no_reason_for_a_network():
    """Of 60 sequences validation has one wrong, or two: the simple prediction is used."""
    right, wrong = np.arange(60) < 2, np.arange(60) < 3
    trials = [trial("bag", right, validation=2 / 60), trial("majority", np.arange(60) < 30)]
    trials += [trial("gru", wrong, seed, validation=1 / 60) for seed in range(3)]
    verdict = judge(trials, horizon=1, block=1, share_of=len(trials[0].error_by_item))
    assert (verdict.outcome, verdict.recommended) == ("undecided", "bag")


def test_memory_is_told_only_of_a_network_that_is_better():
    context = ContextRecord((0, 16), (1.0, 0.9), (0.1, 0.1), 16)
    gru = [replace(t, context=context) for t in group("gru", 1)]
    better = judge([*group("persistence", 3, 1), *gru])
    assert said(better, "GRU needs all 16 steps that it is given: a longer context may help.")
    labels = judge([*group("persistence", 3, 1), *gru], answer="prediction")
    assert said(labels, "GRU needs all 16 steps that it is given.")
    assert not said(judge([*group("persistence", 0.5, 1), *gru]), "GRU needs")
    nothing = [replace(t, context=replace(context, horizon=0)) for t in gru]
    assert said(judge([*group("persistence", 3, 1), *nothing]), "GRU makes no use of its context.")


def test_no_gain_that_matters_is_said_with_what_is_ruled_out():
    verdict = judge([*group("persistence", 3, 1), *group("gru", 2.999)])
    assert (verdict.outcome, verdict.recommended) == ("trivial", "persistence")
    assert re.search(r"A gain of more than [1-5] % can be ruled out\.", verdict.headline)


def test_a_training_that_did_not_learn_is_told_not_averaged():
    chance = f"{AT_CHANCE} after 900 steps, and its gradient vanishes"
    gru = scattered("gru", [1.0, 1.0, 3.0, 1.0, 3.0])
    gru = [replace(t, not_converged=chance) if t.test_error > 2 else t for t in gru]
    verdict = judge([*group("persistence", 3, 1), *gru])
    (candidate,) = [c for c in verdict.candidates if c.kind == "gru"]
    assert candidate.failed == 2 and candidate.error == pytest.approx(1.0, abs=0.1)
    assert verdict.recommended == "gru"
    assert said(verdict, "GRU: 2 of 5 trainings did not learn; its error is that of the others.")
    lost = [replace(t, not_converged=chance) for t in scattered("gru", [3.0] * 5)]
    assert judge([*group("persistence", 3, 1), *lost]).outcome == "untrained"


def test_intervals_of_shares_are_exact_and_stay_in_their_range():
    right, wrong = np.zeros(45), np.ones(45)
    trials = [trial("majority", wrong), *[trial("gru", right, seed) for seed in range(3)]]
    gru, majority = judge(
        trials, horizon=1, block=1, share_of=len(trials[0].error_by_item)
    ).candidates
    assert (gru.low, majority.high) == (0.0, 1.0)
    assert gru.high == pytest.approx(0.0787, abs=1e-4)  # 1 - 0.025^(1/45)
    assert majority.low == pytest.approx(1 - 0.0787, abs=1e-4)
    rare = np.arange(300) % 100 == 0
    mae = judge([trial("persistence", 9.0 * rare), *group("gru", 1)], horizon=1).candidates
    assert all(c.low >= 0 for c in mae)


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 45), (22, 45), (45, 45), (7, 1500)])
def test_the_exact_interval_is_that_of_clopper_and_pearson(count, of):
    beta = pytest.importorskip("scipy.stats").beta
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    assert exact_interval(count, of) == pytest.approx((low, high), abs=1e-6)


def test_the_more_networks_the_more_each_must_show():
    """Holm: with five networks the best of them needs a fifth of the level."""
    rng = np.random.default_rng(0)
    base = 3 + rng.normal(0, 0.3, ORIGINS)
    own = rng.normal(0, 1.0, ORIGINS)
    own -= own.mean()
    for gain in np.linspace(0.0, 0.5, 200):  # the gain at which GRU alone is just better
        gru = trial("gru", base - gain + own, 0)
        if judge([trial("persistence", base), gru], horizon=1).outcome == "network":
            break
    others = [trial(k, base + 0.001 + own, 0) for k in ("dense", "window-dense", "rnn", "lstm")]
    assert judge([trial("persistence", base), gru, *others], horizon=1).outcome == "undecided"
    much = trial("gru", base - 2 * gain + own, 0)
    assert judge([trial("persistence", base), much, *others], horizon=1).tied == ("gru",)


def test_no_need_of_the_past_is_said():
    trials = [*group("persistence", 4, 1), *group("dense", 1), *group("rnn", 1.0)]
    assert said(judge(trials), "the past adds nothing that can be measured")


def test_a_network_that_diverged_is_not_recommended_for_its_lucky_seed():
    lost = [trial("lstm", None, seed) for seed in range(1, 5)]
    trials = [*group("persistence", 3, 1), *group("gru", 2), *group("lstm", 1, 1), *lost]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("network", "gru", ("gru",))
    assert said(verdict, "LSTM: 4 of 5 trainings diverged; not recommended.")
    assert not said(verdict, "LSTM 1")  # nothing is concluded from it
    assert [c.kind for c in verdict.candidates] == ["gru", "persistence", "lstm"]
    assert [(c.diverged, c.seeds) for c in verdict.candidates] == [(0, 5), (0, 1), (4, 5)]


def test_one_diverged_training_is_enough_and_so_are_all():
    trials = [*group("persistence", 3, 1), *group("gru", 1, 4), trial("gru", None, 4)]
    trials += [trial("rnn", None, 0), trial("rnn", None, 1)]
    verdict = judge(trials)
    assert (verdict.outcome, verdict.recommended) == ("trivial", "persistence")
    assert verdict.headline == "No network trains reliably here: use persistence."
    assert verdict.candidates[-1].error is None
    assert said(verdict, "GRU: 1 of 5 trainings diverged; not recommended.")
    assert said(verdict, "RNN: 2 of 2 trainings diverged; not recommended.")


@pytest.mark.parametrize("level", [1, 3])
def test_too_few_seeds_are_said_in_words(level):
    for seeds, words in ((1, "With 1 seed this holds"), (2, "With 2 seeds this holds")):
        headline = judge([*group("persistence", 3, 1), *group("gru", level, seeds)]).headline
        assert words in headline
        assert headline.endswith("the variation between seeds is unknown.")
    three = judge([*group("persistence", 3, 1), *group("gru", level, 3)])
    assert "unknown" not in three.headline


def test_the_same_trials_in_any_order_get_the_same_verdict():
    trials = [*group("persistence", 3, 1), *group("dense", 2), *group("gru", 1)]
    assert judge(trials) == judge(trials[::-1])


def with_insight(trials, horizons, verdicts):
    """Trials with what was seen inside: steps needed, and the verdict on a layer."""
    found = []
    for one, horizon, verdict in zip(trials, horizons, verdicts, strict=True):
        context = ContextRecord((1, horizon, 60), (3.0, 1.0, 1.0), (0.1, 0.1, 0.1), horizon)
        found.append(replace(one, context=context, diagnosis=Diagnosis(verdict, (), (), ())))
    return found


def test_how_far_back_the_recommended_network_looks_and_how_it_fares_is_told():
    gru = with_insight(group("gru", 1), [8, 16, 60, 4, 16], ["healthy"] * 5)
    verdict = judge([*group("persistence", 3, 1), *gru])
    (candidate,) = [c for c in verdict.candidates if c.kind == "gru"]
    assert (candidate.steps_needed, candidate.health) == (16, "healthy")
    assert verdict.reasons[-1] == (
        "GRU needs the last 16 steps to do as well as with all it is given."
    )
    ill = ["vanishing", "healthy", "saturated", "vanishing", "healthy"]
    verdict = judge([*group("persistence", 3, 1), *with_insight(gru, [8] * 5, ill)])
    assert verdict.reasons[-1].endswith(
        "it is given; its recurrent layers: vanishing (2 of 5), saturated (1 of 5)."
    )
    plain = judge([*group("persistence", 3, 1), *group("dense", 1)])
    (candidate,) = [c for c in plain.candidates if c.kind == "dense"]
    assert (candidate.steps_needed, candidate.health) == (None, "")
    assert not said(plain, "needs the last")


def test_trainings_that_had_not_converged_are_no_evidence_that_nothing_is_there():
    persistence, reason = group("persistence", 1, 1), "still improving after 300 steps"
    gru = [replace(t, not_converged=reason if t.seed in (1, 3) else "") for t in group("gru", 1.1)]
    verdict = judge([*persistence, *gru, *group("dense", 1.2)])
    assert (verdict.outcome, verdict.recommended) == ("untrained", "persistence")
    assert verdict.headline.startswith(
        "Not trained enough to tell whether a network beats the simple forecasts (GRU): train "
        "longer (--steps and --patience, or --epochs). Until then use persistence."
    )
    assert said(
        verdict,
        f"GRU could be better than it is here: trainings that had not converged: 2 of 5: {reason}.",
    )
    done = judge([*persistence, *group("gru", 1.1), *group("dense", 1.2)])
    assert done.headline == "No network beats the simple forecasts: use persistence."
    assert done.outcome == "trivial"
    better = judge([*group("persistence", 3, 1), *gru, *group("dense", 2)])
    assert better.headline.startswith("Use GRU")  # what it reached is enough
    assert said(better, "GRU could be better")
