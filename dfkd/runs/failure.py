"""When a run that came to its end is no success all the same, and what to do about it."""

from dfkd.datasets import ImageData
from dfkd.evaluation.chance import at_chance, constant_share
from dfkd.evaluation.validation import Standing
from dfkd.runs.metrics import Quality, RunCost


def failure_of(
    cost: RunCost, quality: Quality, kept: Standing, evaluation: ImageData | None
) -> str:
    """Return why the student has learnt nothing, in a few sentences; empty where it has.

    Args:
        cost: steps and seconds of the run.
        quality: accuracies.
        kept: how the student stands to its teacher on held-out images.
        evaluation: the real images that the accuracies are of.
    """
    if not cost.student_steps:
        seconds = cost.seconds
        return (
            f"No step of the student was made: {seconds.synthesis:.0f} of "
            f"{seconds.total:.0f} s went into images before it could begin. Give it more "
            "--minutes, or smaller pieces of work (--batch-size)."
        )
    if evaluation is None:
        if not kept.guessing:
            return ""
        return (
            "The student is at chance: it answers as the teacher on "
            f"{kept.agreement:.1%} of the held-out images, and one answer for all would do as "
            "well. Give it more --minutes."
        )
    labels = evaluation.labels
    share = constant_share(labels.flatten(), labels[0].numel())
    images = labels.numel()

    def guesses(accuracy: float | None) -> bool:
        return at_chance(round((accuracy or 0.0) * images), images, share)

    if not guesses(quality.student_accuracy):
        return ""
    what = "images" if labels.ndim == 1 else "answers"
    at = f"{quality.student_accuracy:.1%} of {images:,} {what} are right"
    if quality.teacher_accuracy is not None and guesses(quality.teacher_accuracy):
        return (
            f"Student and teacher are at chance ({at}): do the labels and the normalisation fit "
            "the teacher? See --class-names, --mean and --std."
        )
    return (
        f"The student is at chance: {at}, and one answer for all would give {share:.1%}. "
        "Give it more --minutes."
    )
