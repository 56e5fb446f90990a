"""An objective: a flat weighted sum that keeps its components' names."""

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.synthesis.objective import Evidence, Objective, Term, constant, cosine, linear, warmup
from dfkd.teacher import Trace

EVIDENCE = Evidence(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), Trace(torch.eye(2), (), {}))


def term(name: str, value: float) -> Term:
    return Term(name, lambda evidence: torch.tensor(value, requires_grad=True))


def never(evidence: Evidence) -> torch.Tensor:
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
    scheduled = term("a", 1.0) + Term("b", never, linear(0, 1))
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
        EVIDENCE.require_student()
    logits = torch.zeros(2, 2)
    assert EVIDENCE._replace(student_logits=logits).require_student() is logits


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (constant(3.0), (3.0, 3.0, 3.0)),
        (linear(1.0, 0.0), (1.0, 0.5, 0.0)),
        (cosine(2.0, 0.0), (2.0, 1.0, 0.0)),
        (cosine(0.08, 1.0), (0.08, 0.54, 1.0)),
        (warmup(0.5, constant(4.0)), (0.0, 4.0, 4.0)),
        (warmup(0.0, constant(4.0)), (4.0, 4.0, 4.0)),
        (warmup(1.0, linear(1.0, 0.0)), (0.0, 0.25, 0.0)),
    ],
)
def test_schedules_at_start_middle_and_end(schedule, values):
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(values)


def test_a_scheduled_weight_can_be_scaled():
    scaled = -2 * (3 * Term("a", lambda e: torch.ones(()), linear(0.0, 1.0)))
    assert scaled.weight_at(0.5) == -3
    assert (scaled + term("b", 1.0))(EVIDENCE, progress=1.0)[0].item() == -5
