"""A critic that learns to tell the student's answers from the teacher's, and is to be fooled.

    python examples/critic.py [--steps 400]

On the command line: ``dfkd distill TEACHER STUDENT --scheme adversarial --out DIR``. Weight 0 is
the same run without the critic.
"""

import argparse

import dfkd
from dfkd.networks import initialise, resnet


class Latest(dfkd.Callback):
    """Keeps the latest metrics."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def on_log(self, progress, step, metrics, class_counts) -> None:
        self.metrics |= metrics


def main(steps: int) -> None:
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    for weight in (0.0, 0.1):
        student = initialise(resnet(8, 1, 10, (8, 16, 32)), seed=0)
        latest = Latest()
        settings = {"weight": weight}
        result = dfkd.distill(
            teacher,
            student,
            recipe=dfkd.recipe(scheme="adversarial", scheme_config=settings, init="random"),
            steps=steps,
            evaluation=dfkd.load_data("bundled:digits_vgg"),
            callbacks=[latest],
        )
        told = latest.metrics.get("distillation/critic_accuracy")
        critic = "no critic" if told is None else f"the critic is right about {told:.0%}"
        print(f"weight {weight}: accuracy {result.metrics.student_accuracy:.1%}; {critic}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    main(parser.parse_args().steps)
