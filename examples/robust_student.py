"""A student that is taught on images made to mislead it, beside one that is not.

    python examples/robust_student.py [--steps 300]

On the command line: ``dfkd distill TEACHER STUDENT --scheme robust --set scheme_config.epsilon=0.1
--set scheme_config.step_size=0.025 --out DIR``, and to compare two of them ``dfkd evaluate run:A
run:B --data DATA --epsilon 0.1``. Epsilon is in units of [0, 1] intensity.
"""

import argparse

import dfkd
from dfkd.evaluation.robustness import robust_accuracy
from dfkd.networks import initialise, resnet

EPSILON = 0.1


def main(steps: int) -> None:
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    data = dfkd.load_data("bundled:digits_vgg")
    attack = {"epsilon": EPSILON, "step_size": EPSILON / 4}
    plain = dfkd.recipe(init="random")
    for plan in (plain, plain.with_(scheme="robust", scheme_config=attack)):
        student = initialise(resnet(8, 1, 10, (8, 16, 32)), seed=0)
        result = dfkd.distill(teacher, student, recipe=plan, steps=steps, evaluation=data)
        attacked = robust_accuracy(result.student, teacher.spec, data, epsilon=EPSILON, count=200)
        clean = result.metrics.student_accuracy
        print(f"{plan.scheme}: {clean:.1%} of clean images, {attacked:.1%} of attacked ones")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    main(parser.parse_args().steps)
