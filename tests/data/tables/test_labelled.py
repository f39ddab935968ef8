"""Tables with a column of answers: sequences, order, labels, categories, gaps, statics."""

import numpy as np
import pytest

from throughtime.data.sequences.collection import as_learned, sequence_problem
from throughtime.data.tables.labelled import read_labelled
from throughtime.data_options import DataOptions
from throughtime.errors import InputError

ROWS = "who,t,x,kind,y\n" + "".join(
    f"{who},{t},{x},{kind},{y}\n"
    for who, t, x, kind, y in [
        ("b", 1, 10, "u", "no"),
        ("a", 1, 1, "v", "yes"),
        ("b", 2, 20, "v", "no"),
        ("a", 2, 2, "u", "yes"),
        ("a", 4, 3, "u", "yes"),
    ]
)


def table(path, text=ROWS, name="x.csv"):
    (path / name).write_text(text)
    return path / name


def read(path, text=ROWS, **options):
    named = {"label": "y", "group": "who", "time": "t", **options}
    return read_labelled(table(path, text), DataOptions(**named))


def test_rows_of_a_group_are_a_sequence(tmp_path):
    found = read(tmp_path)
    assert found.names == ("b", "a") and found.lengths.tolist() == [2, 3]
    assert found.values[:, 0].tolist() == [10, 20, 1, 2, 3]
    assert found.step_rows.tolist() == [2, 4, 3, 5, 6]
    assert (found.words, found.every_step) == (["no", "yes"], False)
    # the steps of a differ, so the time since the row before is an input
    assert found.columns == ("x", "time gap")
    assert found.values[:, 1].tolist() == [0, 1, 0, 1, 2]


def test_a_label_that_changes_is_one_of_each_step(tmp_path):
    found = read(tmp_path, ROWS.replace("a,4,3,u,yes", "a,4,3,u,"))
    assert found.every_step and found.words == ["no", "no", "yes", "yes", None]
    alone = read(tmp_path, group=None, time="none", inputs=("x",))
    assert alone.every_step and alone.lengths.tolist() == [5]


def test_categories_are_codes_and_unknown_ones_are_other(tmp_path):
    found = read(tmp_path, categorical=("kind",), inputs=("x",))
    assert found.categories == (("(other)", "u", "v"),)
    assert found.codes[:, 0].tolist() == [1, 2, 2, 1, 1]


def test_words_that_training_lacks_are_other_everywhere(tmp_path):
    rows = "".join(
        f"{k},{t},{'rare' if k == 9 else 'ab'[t % 2]},{k % 2},{part}\n"
        for k in range(12)
        for part in [("train", "validation", "test")[(k >= 8) + (k >= 10)]]
        for t in range(3)
    )
    columns = DataOptions(
        label="y", group="who", time="none", inputs=(), categorical=("kind",), part="part"
    )
    path = table(tmp_path, "who,t,kind,y,part\n" + rows)
    problem = sequence_problem(read_labelled(path, columns))
    assert problem.spec.categories == (("(other)", "a", "b"),)
    x, _, _ = problem.batch(problem.validation)
    names = [problem.sequences.name(k) for k in problem.validation.tolist()]
    assert x[:, names.index("9"), 0].tolist() == [0, 0, 0]
    new = read_labelled(path, problem.spec.options, learned=problem.spec)
    assert as_learned(new, problem.spec).codes[27:30, 0].tolist() == [0, 0, 0]


def test_a_static_table_is_at_every_step(tmp_path):
    static = table(tmp_path, "who,age\na,30\nb,40\nc,50\n", "static.csv")
    columns = DataOptions(label="y", group="who", time="t", inputs=("x", "age"), static=static)
    found = read_labelled(table(tmp_path), columns)
    assert found.values[:, 1].tolist() == [40, 40, 30, 30, 30]


def test_what_was_learned_is_read_without_the_label(tmp_path):
    spec = sequence_problem(read(tmp_path, _many())).spec
    text = "\n".join(line.rpartition(",")[0] for line in _many().splitlines()) + "\n"
    new = read_labelled(table(tmp_path, text), spec.options, learned=spec)
    assert new.words is None and new.columns == spec.columns


def _many():
    rows = [f"{w},{t},{w * t},u,{'yes' if w % 2 else 'no'}" for w in range(20) for t in (1, 2, 4)]
    return "\n".join(["who,t,x,kind,y", *rows]) + "\n"


BAD = {
    "no label": (ROWS, {"label": "z"}, "no column 'z'"),
    "no group": (ROWS.replace("a,4", ",4"), {}, "row 6, column 'who': the group is missing"),
    "time goes back": (
        ROWS.replace("a,4,3", "a,1,3"),
        {},
        "row 6, column 't': an earlier time",
    ),
    "time stands still": (
        ROWS.replace("a,4", "a,2"),
        {},
        "row 6, column 't': the same time as in row",
    ),
    "text in a number": (ROWS.replace("20", "x20"), {"inputs": ("x",)}, "row 4, column 'x'"),
    "an infinite value": (ROWS.replace("20", "inf"), {"inputs": ("x",)}, "row 4.*infinite"),
    "nothing to learn from": (ROWS, {"inputs": ()}, "no input columns"),
}


@pytest.mark.parametrize(("text", "options", "told"), BAD.values(), ids=BAD.keys())
def test_bad_tables_get_one_line(tmp_path, text, options, told):
    with pytest.raises(InputError, match=told):
        read(tmp_path, text, **options)


def test_a_strange_part_is_told_with_its_row(tmp_path):
    text = "who,x,y,part\na,1,0,train\na,2,0,test\nb,1,1,train\n"
    columns = DataOptions(
        label="y", group="who", time="none", inputs=("x",), categorical=(), part="part"
    )
    with pytest.raises(
        InputError, match=r"row 3, column 'part': part 'test'; .*the same in all rows"
    ):
        read_labelled(table(tmp_path, text), columns)


@pytest.mark.parametrize(
    ("static", "told"),
    [
        ("who,age\na,30\n", "no row for who 'b'"),
        ("who,age\na,1\nb,2\na,3\n", "row 2, column 'who': the group is listed twice"),
        ("who,x\na,1\nb,2\n", "column 'x' is in both tables"),
        ("age\n1\n", "no column 'who'"),
    ],
)
def test_static_tables_that_do_not_fit_are_told(tmp_path, static, told):
    other = table(tmp_path, static, "static.csv")
    with pytest.raises(InputError, match=told):
        read_labelled(table(tmp_path), DataOptions(label="y", group="who", time="t", static=other))
    with pytest.raises(InputError, match="--static: it requires --group"):
        read_labelled(table(tmp_path), DataOptions(label="y", static=other))


def test_one_long_sequence_is_cut_by_time_and_never_shuffled(tmp_path):
    rows = "".join(f"{k},{k % 3}\n" for k in range(1000))
    path = table(tmp_path, "x,y\n" + rows)
    found = read_labelled(path, DataOptions(label="y", time="none", context=10))
    problem = sequence_problem(found)
    last = -1.0
    for part, end in ((problem.training, 700), (problem.validation, 850), (problem.test, 1000)):
        steps = problem.sequences.values[problem.sequences.steps_of(part), 0].numpy()
        assert steps[0] == last + 1 and (np.diff(steps) == 1).all() and steps[-1] == end - 1
        last = steps[-1]
    assert int(problem.sequences.lengths.max()) == 40


def test_no_line_is_drawn_from_one_part_to_another(tmp_path):
    x = ["0"] * 64 + [""] * 12 + ["1000"] * 24
    rows = "".join(f"{v},{k % 2}\n" for k, v in enumerate(x))
    options = DataOptions(label="y", time="none", missing="interpolate", context=3)
    problem = sequence_problem(read_labelled(table(tmp_path, "x,y\n" + rows), options))
    training = problem.sequences.values[problem.sequences.steps_of(problem.training), 0]
    assert not training.any()


@pytest.mark.parametrize(
    ("label", "asked", "classes"),
    [
        (lambda k: k + 0.5, "auto", 0),  # not whole
        (lambda k: k, "auto", 0),  # whole, of more than 50 values
        (lambda k: k % 3, "auto", 3),
        (lambda k: k % 3, "numbers", 0),
        (lambda k: "ab"[k % 2], "auto", 2),
    ],
)
def test_labels_are_classes_or_numbers(tmp_path, label, asked, classes):
    rows = "".join(f"g{k},{j},{label(k)}\n" for k in range(60) for j in range(2))
    path = table(tmp_path, "who,x,y\n" + rows)
    columns = DataOptions(label="y", group="who", time="none", inputs=("x",), answer=asked)
    answers = sequence_problem(read_labelled(path, columns)).answers
    assert len(answers.classes) == classes
    if not classes:
        assert answers.values[:, 0].tolist() == [float(label(k)) for k in range(60)]


def test_words_are_no_numbers(tmp_path):
    with pytest.raises(InputError, match="--answer: the labels are text"):
        sequence_problem(read(tmp_path, _many(), answer="numbers"))
