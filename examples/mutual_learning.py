"""Three students that teach each other beside their teacher, against one that learns alone.

    python examples/mutual_learning.py [--steps 400]

On the command line: ``dfkd distill TEACHER STUDENT --scheme online --set scheme_config.students=3
--out DIR``. The best of them, by how often it agrees with the teacher on synthetic images, is the
student.
"""

import argparse

import dfkd
from dfkd.networks import initialise, resnet


def main(steps: int) -> None:
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    alone = dfkd.recipe(init="random")
    for recipe in (alone, alone.with_(scheme="online", scheme_config={"students": 3})):
        student = initialise(resnet(8, 1, 10, (8, 16, 32)), seed=0)
        result = dfkd.distill(
            teacher,
            student,
            recipe=recipe,
            steps=steps,
            evaluation=dfkd.load_data("bundled:digits_vgg"),
        )
        rows = result.metrics.comparison[1:]
        print(recipe.scheme, *(f"{row['name']} {row['accuracy']:.1%}" for row in rows), sep="  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    main(parser.parse_args().steps)
