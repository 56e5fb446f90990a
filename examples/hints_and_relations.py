"""More than answers: hints from inside the teacher, and how its images lie to one another.

    python examples/hints_and_relations.py [--steps 600]

On the command line: ``dfkd distill TEACHER STUDENT --knowledge "kd + hint + 300*sp" --out DIR``;
``dfkd knowledge`` lists what there is. Adapters between the two networks are trained on the way and
left behind.
"""

import argparse

import torch

import dfkd
from dfkd.networks import initialise, resnet


def main(steps: int) -> None:
    torch.manual_seed(0)
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    for knowledge in ("kd", "kd + hint + 300*sp"):
        student = initialise(resnet(8, 1, 10, (8, 16, 32)), seed=0)
        plan = dfkd.recipe(learner={"knowledge": knowledge}, init="random")
        result = dfkd.distill(
            teacher,
            student,
            recipe=plan,
            steps=steps,
            evaluation=dfkd.load_data("bundled:digits_vgg"),
        )
        accuracy = result.metrics.student_accuracy
        print(f"{knowledge}: {accuracy:.1%}; compared: {', '.join(result.metrics.pairs) or '-'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    main(parser.parse_args().steps)
