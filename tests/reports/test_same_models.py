"""Two runs of the same models: what counts as a difference, and how much of it fails."""

from xml.etree import ElementTree

import pytest

from reports.gate.same_models import SameModels, differing, record_difference
from reports.gate.statistics import Metric, compare
from reports.gate.verdict import same_models_junit, same_models_markdown

N = 40


def rows(**changes) -> dict:
    """Forty records of one seed; a change gives (field, from which prompt on, value)."""
    made = {
        ("test", 0, f"p{i}"): {"response": f"text {i}", "n_tokens": 10, "kl": 1.5, "seconds": 0.1} for i in range(N)
    }
    for field, (start, value) in changes.items():
        for i in range(start, N):
            made["test", 0, f"p{i}"][field] = value
    return made


def result(one, figures=None, share=0.05) -> SameModels:
    return SameModels((one,), share, figures)


def test_times_and_new_fields_are_no_difference():
    one = record_difference("s", rows(), rows(seconds=(0, 9.0), passes=(0, 3)))
    assert (one.records, one.differ, one.rounding, one.lost, one.added) == (N, 0, 0, 0, 0)
    assert result(one).exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (1.5, 1.5, None),
        (1.5, 1.50001, "rounding"),
        (1e6, 1e6 + 50, "rounding"),
        (0.0, 5e-5, "rounding"),
        (1.5, 1.51, "beyond"),
        (1000000, 1000001, "beyond"),
        (float("nan"), float("nan"), None),
        (1.5, None, "beyond"),
        (1.5, float("inf"), "beyond"),
        (1, True, None),
        ("a", "b", "beyond"),
    ],
)
def test_rounding_moves_numbers_a_little_and_counts_and_texts_not_at_all(before, after, kind):
    beyond, near = differing({"x": before}, {"x": after})
    assert (bool(beyond), bool(near)) == (kind == "beyond", kind == "rounding")


def test_a_field_that_is_gone_and_records_that_are_lost_are_differences():
    assert differing({"kl": 1.0}, {}) == ({"kl"}, set())
    some = dict(list(rows().items())[:-1])
    one = record_difference("s", rows(), some)
    assert (one.lost, result(one).verdict, result(one).exit_code) == (1, "changed", 5)
    assert result(record_difference("s", some, rows())).verdict == "pass"
    assert result(record_difference("s", rows(), some, ["records"])).verdict == "pass"


@pytest.mark.parametrize(("differ", "verdict"), [(1, "pass"), (2, "pass"), (3, "changed"), (N, "changed")])
def test_a_share_of_the_records_may_differ(differ, verdict):
    one = record_difference("s", rows(), rows(response=(N - differ, "other")))
    assert (one.differ, one.fields, one.first) == (differ, {"response": differ}, ("test", 0, f"p{N - differ}"))
    assert result(one).verdict == verdict


def test_what_is_accepted_does_not_count_and_only_that():
    after = rows(response=(0, "other"), kl=(0, 9.0))
    assert result(record_difference("s", rows(), after)).verdict == "changed"
    assert result(record_difference("s", rows(), after, ["kl"])).verdict == "changed"
    assert (
        result(record_difference("s", rows(), after, ["response"])).verdict == "pass"
    )  # the rest follows from the text
    assert result(record_difference("s", rows(), rows(kl=(0, 9.0)), ["response"])).verdict == "changed"


def figures(loss: float, wide: bool):
    values = [float(i % 7) for i in range(N)]
    after = [v - loss + (wide and (-1) ** i) for i, v in enumerate(values)]
    sides = [
        {
            "task": "t",
            "judge": "j",
            "seeds": [0],
            "prompts": [f"p{i}" for i in range(N)],
            "settings": {"s": {"kl": side}},
        }
        for side in (after, values)
    ]
    return compare(*sides, [Metric("kl", 0.1)])


@pytest.mark.parametrize(
    ("loss", "wide", "differ", "accepted", "verdict"),
    [
        (0.05, False, 1, [], "pass"),
        (0.5, False, 1, [], "regression"),
        (0.5, False, N, ["response"], "regression"),  # another text is meant, a worse one is not
        (0.5, False, N, ["response", "kl"], "pass"),
        (0.0, True, 1, [], "inconclusive"),
        (0.0, True, N, [], "changed"),
        (0.0, True, N, ["response"], "pass"),
    ],
)
def test_the_figures_of_what_differs_are_held_too(loss, wide, differ, accepted, verdict):
    one = record_difference("s", rows(), rows(response=(N - differ, "other")), accepted)
    found = result(one, figures(loss, wide))
    assert found.verdict == verdict
    assert found.exit_code == {"pass": 0, "regression": 1, "inconclusive": 4, "changed": 5}[verdict]


def test_figures_of_a_setting_that_is_the_same_are_not_shown():
    assert result(record_difference("s", rows(), rows()), figures(0.5, False)).rows == ()


def test_the_table_names_what_differs_and_is_harmless():
    hostile = "</td><script>|x|\n`[a](b)`\x1b[31m\u202e\x00]]>&"
    one = record_difference(hostile, rows(), rows(**{"response": (0, "other"), hostile: (0, 1)}), ["kl"], [hostile])
    changed = rows()
    changed["test", 0, "p7"]["kl"] = 3.0
    text = same_models_markdown(result(one), hostile) + same_models_markdown(
        result(record_difference("s", rows(), changed)), "b"
    )
    assert not {"<", ">", "\x1b", "\u202e", "\x00"} & set(text)
    assert "| s | 40 | 1 | 0 | 0 | 0 | kl 1 | test, seed 0, prompt p7 |" in text
    root = ElementTree.fromstring(same_models_junit(result(one)))
    assert (root[0].get("tests"), root[0].get("failures")) == ("1", "1")
