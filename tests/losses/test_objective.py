"""An objective: a flat weighted sum that keeps its components' names."""

import inspect

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.losses.objective import Objective, Term, parse
from dfkd.losses.registry import LOSSES
from dfkd.tasks import Classification, Prediction
from dfkd.teacher.outputs import Outputs, PairOutputs

EVIDENCE = PairOutputs(
    torch.rand(2, 1, 4, 4),
    Outputs(Prediction(torch.eye(2))),
    targets=torch.tensor([0, 1]),
    task=Classification(2),
)


def term(name: str, value: float) -> Term:
    return Term(name, lambda evidence: torch.tensor(value, requires_grad=True))


def never(evidence: PairOutputs) -> torch.Tensor:
    raise AssertionError("a term of weight 0 must not be computed")


def test_total_is_weighted_and_components_are_not():
    total, components = (term("a", 2.0) + 0.5 * term("b", 3.0))(EVIDENCE)
    assert total.item() == 3.5
    assert components == {"a": 2.0, "b": 3.0}
    assert total.requires_grad
    assert not any(value.requires_grad for value in components.values())


def test_sums_are_flat_and_a_factor_reaches_every_term():
    left, right = term("a", 1.0) + term("b", 1.0), term("c", 1.0) + term("d", 1.0)
    objective = 2 * (left + 3 * right) * 0.5
    assert [t.name for t in objective.terms] == ["a", "b", "c", "d"]
    assert [t.weight for t in objective.terms] == [1, 1, 3, 3]
    assert objective(EVIDENCE)[0].item() == 8


def test_the_adversary_is_minus_one_times_a_term():
    total, components = (-1 * term("kl", 2.0) + term("a", 1.0))(EVIDENCE)
    assert total.item() == -1
    assert components["kl"] == 2


def test_scaling_makes_a_new_term():
    original = term("a", 1.0)
    assert (2 * original).weight == 2
    assert original.weight == 1


def test_terms_of_weight_zero_are_left_out():
    _, components = (term("a", 1.0) + Term("b", never, 0.0))(EVIDENCE)
    assert set(components) == {"a"}
    scheduled = term("a", 1.0) + Term("b", never, lambda progress: progress)
    assert set(scheduled(EVIDENCE, progress=0.0)[1]) == {"a"}


def test_an_empty_sum_is_never_a_loss():
    with pytest.raises(DfkdError, match="at least one term"):
        Objective(())
    with pytest.raises(DfkdError, match="weight 0"):
        Objective((Term("a", never, 0.0),))(EVIDENCE)


def test_names_must_differ():
    with pytest.raises(DfkdError, match="must differ: a, a"):
        term("a", 1.0) + term("a", 2.0)


def test_a_student_that_is_needed_and_missing():
    with pytest.raises(DfkdError, match="needs a student"):
        Objective.of(adv=1.0)(EVIDENCE)
    student = Outputs(Prediction(torch.zeros(2, 2)))
    Objective.of(adv=1.0)(EVIDENCE._replace(student=student))


def test_one_language_serves_images_and_students():
    objective = Objective.parse("10*bn + 0.5*onehot - kd")
    assert {term.name: term.weight for term in objective.terms} == {
        "bn": 10,
        "onehot": 0.5,
        "kd": -1,
    }
    assert objective.needs == {path for n in ("bn", "onehot", "kd") for path in LOSSES[n].needs}
    assert Objective.of(bn=0.0, kd=1.0).needs == set(LOSSES["kd"].needs)


def test_a_student_maximises_nothing():
    assert parse("kd + 250*at") == {"kd": 1, "at": 250}
    with pytest.raises(DfkdError, match=r"knowledge 'kd - at', column 4: terms are joined by \+$"):
        parse("kd - at")


@pytest.mark.parametrize("name", LOSSES)
def test_every_row_names_what_its_function_takes(name):
    """As many values as the function, or the module it builds, has positional parameters."""
    row = LOSSES[name]
    if "_over_depths" in getattr(row.function, "__qualname__", ""):
        return
    kinds = [p.kind for p in inspect.signature(row.function).parameters.values()]
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) == len(row.needs)
    assert row.line
    assert row.weight > 0


def test_a_scheduled_weight_can_be_scaled():
    scaled = -2 * (3 * Term("a", lambda e: torch.ones(()), lambda progress: progress))
    assert scaled.weight_at(0.5) == -3
    assert (scaled + term("b", 1.0))(EVIDENCE, progress=1.0)[0].item() == -5
