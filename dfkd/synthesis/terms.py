"""Losses as an objective's terms read them: what several methods minimise, from ``Evidence``.

``Term("statistics", terms.statistics, config.bn)`` takes from the evidence what
``losses.statistics.norm_distance`` wants. A method's own reading stands in its own file.
"""

from torch import Tensor

from dfkd.losses import adversarial as adversarial_losses
from dfkd.losses import response
from dfkd.losses import statistics as statistics_losses
from dfkd.synthesis.objective import Evidence


def statistics(evidence: Evidence) -> Tensor:
    """L_bn: how far the batch's statistics lie from the stored ones."""
    return statistics_losses.norm_distance(evidence.trace.statistics)


def cross_entropy(evidence: Evidence) -> Tensor:
    """L_oh: the teacher's answers against the targets."""
    return response.cross_entropy(evidence.trace.logits, evidence.targets)


def disagreement(evidence: Evidence) -> Tensor:
    """-KL(teacher || student), T = 1: the adversary is -1 times the distillation term."""
    student_logits = evidence.require_student()
    return -response.kl_divergence(student_logits, evidence.trace.logits, temperature=1.0)


def decision_adversarial(evidence: Evidence) -> Tensor:
    """L_adv of CMI, Fast and NAYER: disagreement where both decide alike."""
    student_logits = evidence.require_student()
    return adversarial_losses.decision_adversarial(student_logits, evidence.trace.logits)


def competition(evidence: Evidence) -> Tensor:
    """1 - JS: Adaptive DeepInversion's pull towards what the student does not know."""
    student_logits = evidence.require_student()
    return 1 - adversarial_losses.js_competition(student_logits, evidence.trace.logits)


def information_entropy(evidence: Evidence) -> Tensor:
    """L_bal to the base 10, as DAFL and PRE take it."""
    return adversarial_losses.class_balance(evidence.trace.logits, base=10)
