"""What is out of the ordinary about a teacher, found in a moment: what ``dfkd probe`` says."""

from dfkd.errors import DfkdError
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.evaluation.holding_out import EFFORTS, Effort, hold_out, unclocked
from dfkd.evaluation.peculiarities import CHECKS, remembered_width
from dfkd.teacher import Teacher

_SMALL = Effort(64, 32, 4, 0)
_WIDE = 2.5
"""Times by which remembered values are wider than those of drawings where these want to be
normalised: with four teachers they were .5 to 2.3 times as wide, as they should be."""
_FLAT = 0.05
"""Of a network's answers to different images, their spread in logits where nothing was learnt."""


def look_first(teacher: Teacher) -> tuple[str, ...]:
    """Look for what is out of the ordinary, a line each; what a run would refuse is a line too.

    Args:
        teacher: frozen; shown some dozens of drawings.
    """
    large = unclocked(teacher.spec) != EFFORTS[0]
    held_out = hold_out(teacher, EFFORTS[-1] if large else _SMALL)
    if fresh := _random_weights(teacher, held_out):
        return (fresh,)  # whatever else is strange comes of that
    lines = []
    for check in (*CHECKS.values(), _no_normalisation):
        try:
            lines.append(check(teacher, held_out))
        except DfkdError as refusal:
            lines.append(f"refused: {refusal}")
    return tuple(line for line in lines if line)


def _random_weights(teacher: Teacher, held_out: HeldOut) -> str:
    norms = [vars(norm)["_buffers"] for norm in teacher.layers.values()]
    known = [(n["running_mean"], n["running_var"]) for n in norms if "running_var" in n]
    if known and not any(bool((mean != 0).any() | (var != 1).any()) for mean, var in known):
        return (
            "are these random weights? All statistics of its norms are still 0 and 1: no data has "
            "ever passed; give `?weights=FILE`"
        )
    spread = float(held_out.logits.std(0).mean())
    if spread < _FLAT:
        return (
            f"are these random weights? Its logits differ by {spread:.2g} between images, next to "
            "nothing; give `?weights=FILE`, if they are"
        )
    return ""


def _no_normalisation(teacher: Teacher, held_out: HeldOut) -> str:
    spec = teacher.spec
    if any(spec.mean) or any(value != 1 for value in spec.std):
        return ""
    found = remembered_width(teacher, held_out.images[held_out.places("drawn")][:HELD_OUT_BATCH])
    if found is None or found[1] < _WIDE:
        return ""
    name, ratio = found
    return (
        f"no `mean` and `std` are given, and layer {name} remembers values {ratio:.2g} times as "
        f"wide as those of drawings in [0, 1]: its data seem to have been divided by a std near "
        f"{1 / ratio:.2g}; set both to what its images were normalised by"
    )
