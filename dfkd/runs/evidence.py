"""The evidence of each symptom (``dfkd.runs.symptoms``): a phrase where it shows, else ""."""

from dfkd.evaluation.health import effective_share
from dfkd.runs.pace import STEPS
from dfkd.runs.record import TOO_FEW, RunRecord

_RARE = 0.05
"""Of an even share of the images: a class below it is next to absent."""


def no_number(record: RunRecord) -> str:
    """Show a metric that is no number, and where."""
    bad = next(((n, row["step"]) for row in record.rows for n, v in row.items() if v is None), None)
    return f"{bad[0]} is no number at step {bad[1]}" if bad else ""


def no_step(record: RunRecord) -> str:
    """Show that half of the budget went without a step of the student."""
    first = next((row for row in record.rows if row["step"]), None)
    started = record.rows[-1]["seconds"] if first is None and record.rows else None
    if first is None and started is not None and record.progress > 0.5:
        return f"{record.progress:.0%} of the budget is spent, and the student has made no step"
    return ""


def few_steps(record: RunRecord) -> str:
    """Show that a whole budget of minutes made few steps."""
    if record.progress < 1 or not record.minutes or not 0 < record.steps < STEPS:
        return ""
    return f"the student made {record.steps} steps, and needs some {STEPS} to leave its start"


def few_classes(record: RunRecord) -> str:
    """Show that the images look like few classes to the teacher."""
    counts = record.counts or record.result.get("class_counts") or ()
    if sum(counts) < 20 * len(counts) or not counts:
        return ""
    share = effective_share(counts)
    found = f"the images show the teacher {share * len(counts):.1f} of {len(counts)} classes"
    return found if share < 0.35 else ""


def rare_classes(record: RunRecord) -> str:
    """Show the classes that next to no image looks like."""
    counts = record.result.get("class_counts") or ()
    few = record.result.get("student_steps", TOO_FEW) < TOO_FEW
    if few or sum(counts) < 20 * len(counts) or not counts or few_classes(record):
        return ""
    least = _RARE * sum(counts) / len(counts)
    rare = [index for index, count in enumerate(counts) if count < least]
    if not rare:
        return ""
    names = record.names if len(record.names) == len(counts) else [*map(str, range(len(counts)))]
    named = ", ".join(names[index][:30] for index in rare[:3]) + ", …" * (len(rare) > 3)
    return f"the images show the teacher next to nothing of {len(rare)} classes ({named})"


def few_answers(record: RunRecord) -> str:
    """Show that the student answers with fewer classes than the teacher."""
    health = record.health
    if not health or health["student_classes"] >= 0.5 * health["teacher_classes"]:
        return ""
    return (
        f"the student answers with {health['student_classes']:.1f} classes where the teacher has "
        f"{health['teacher_classes']:.1f}"
    )


def guessing(record: RunRecord) -> str:
    """Show that the student agrees no more often than a constant does."""
    held_out = record.result.get("held_out")
    if not held_out or not held_out["best"]["guessing"]:
        return ""
    share = held_out["best"]["agreement"]
    return f"it agrees with the teacher on {share:.0%} of held-out images, as a constant does"


def many_duplicates(record: RunRecord) -> str:
    """Show that many images equal another one."""
    share = record.health.get("duplicates", 0.0)
    # Of 64 images drawn from a store of 90 half are drawn twice.
    return f"{share:.0%} of the images equal another one" if share > 0.5 else ""


def many_saturated(record: RunRecord) -> str:
    """Show that nearly all values are at an end."""
    share = record.health.get("saturated", 0.0)
    return f"{share:.0%} of the values are exactly 0 or 1" if share > 0.9 else ""


def widest_gap(record: RunRecord) -> str:
    """Show the layer that is furthest from what it remembers."""
    gaps = record.health.get("gaps") or {}
    name = max(gaps, key=lambda layer: gaps[layer], default="")
    if not name or gaps[name] < 1:
        return ""
    return f"layer {name} is {gaps[name]:.2g} nats from what it remembers (others: see result.json)"


def runaway(record: RunRecord) -> str:
    """Show that agreement fell while images were made against the student."""
    agreed = record.quarters("distillation/agreement")
    if not record.opposed or not agreed or agreed[-1] > max(agreed) - 0.25:
        return ""
    return f"agreement on the images fell from {max(agreed):.0%} to {agreed[-1]:.0%}"


def norm_drift(record: RunRecord) -> str:
    """Show that the student agrees by a batch's statistics, not by its own."""
    health = record.health
    if not health or record.result.get("student_steps", 0) < TOO_FEW:
        return ""
    if health["agreement_training"] - health["agreement"] < 0.3:
        return ""
    return (
        f"it agrees on {health['agreement_training']:.0%} of the images by the batch's statistics "
        f"and on {health['agreement']:.0%} by its own"
    )


def rising_loss(record: RunRecord) -> str:
    """Show that the student's loss rose."""
    loss = record.quarters("distillation/kd")
    agreed = record.quarters("distillation/agreement")
    if not loss or not agreed or record.opposed:
        return ""
    if loss[-1] < 3 * min(loss[:2]) or agreed[-1] > 0.5:
        return ""
    return f"the student's loss rose from {min(loss[:2]):.3g} to {loss[-1]:.3g}"


def flat_loss(record: RunRecord) -> str:
    """Show that the student's loss stayed where it was."""
    loss = record.quarters("distillation/kd")
    agreed = record.quarters("distillation/agreement")
    known = (record.result.get("held_out") or {}).get("start", {}).get("agreement", 0.0)
    if not loss or not agreed or record.progress < 0.5 or known > 0.5:
        return ""
    moved = not 0.9 * loss[0] <= loss[-1] <= 1.1 * loss[0]
    if moved or agreed[-1] > agreed[0] + 0.05 or agreed[-1] > 0.5:
        return ""
    return f"the student's loss went from {loss[0]:.3g} to {loss[-1]:.3g} in {record.steps} steps"


def over_confidence(record: RunRecord) -> str:
    """Show that the teacher is sure of all, at a low temperature."""
    confidence = record.health.get("confidence", 0.0)
    temperature = (record.recipe.get("learner") or {}).get("temperature", 20.0)
    if confidence < 0.99 or temperature > 2:
        return ""
    return f"its mean highest probability is {confidence:.2%} at temperature {temperature:g}"
