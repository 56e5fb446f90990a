"""A student that can answer early: classifiers at its depths, taught by the deepest one.

    python examples/early_exits.py [--steps 400]

On the command line: ``dfkd distill TEACHER STUDENT --scheme self --exits keep --out DIR``.
Without ``keep`` the exits are there while the student learns, and are left behind. They take time
of the whole student's: what they buy is an answer for a part of the compute.
"""

import argparse

import dfkd
from dfkd.networks import initialise, resnet


def main(steps: int) -> None:
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    student = initialise(resnet(14, 1, 10, (8, 16, 32)), seed=0)
    result = dfkd.distill(
        teacher,
        student,
        recipe=dfkd.recipe(scheme="self", scheme_config={"exits": "keep"}, init="random"),
        steps=steps,
        evaluation=dfkd.load_data("bundled:digits_vgg"),
    )
    for row in result.metrics.exits:
        kept, share = row["share_of_accuracy"], row["share_of_compute"]
        print(f"{row['name']}: {kept:.1%} of the student's accuracy at {share:.0%} of its compute")
    print("the earliest with 97 % of it:", result.metrics.earliest_exit)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    main(parser.parse_args().steps)
