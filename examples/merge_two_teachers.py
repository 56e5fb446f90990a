"""Two teachers of five digits each become one student of all ten, without their images.

    python examples/merge_two_teachers.py [--steps 2000]

A third teacher sees all digits, for reference; the test images of ``bundled:digits_vgg`` measure.
``assets/train_halves.py`` writes such teachers for ``dfkd distill run:LOW STUDENT --scheme ensemble
--teachers run:HIGH --set scheme_config.combine=classes --out DIR``. Needs scikit-learn (data).
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits

import dfkd
from dfkd.networks import initialise, vgg

DATA = load_digits()
IMAGES, LABELS = torch.tensor(DATA.images[:, None] / 16).float(), torch.tensor(DATA.target)
TRAIN, TEST = torch.from_numpy(np.random.default_rng(0).permutation(1797)).split([1000, 797])


def train_teacher(digits: range) -> dfkd.Teacher:
    own = TRAIN[torch.isin(LABELS[TRAIN], torch.tensor(digits))]
    spec = dfkd.ImageSpec(1, 8, 8, (IMAGES[own].mean().item(),), (IMAGES[own].std().item(),))
    network = initialise(vgg((16, 32, 64), 2, 1, len(digits)), seed=digits[0]).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for index in own[torch.randint(len(own), (300, 64))]:
        logits, labels = network(spec.normalize(IMAGES[index])), LABELS[index] - digits[0]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        schedule.step()
    return dfkd.Teacher(network, spec, [str(digit) for digit in digits])


def accuracy(teacher: dfkd.Teacher) -> float:
    return (teacher(IMAGES[TEST]).argmax(1) == LABELS[TEST]).float().mean().item()


def main(steps: int) -> None:
    torch.manual_seed(0)
    low, high, joint = map(train_teacher, (range(5), range(5, 10), range(10)))
    both = dfkd.ensemble([low, high], combine="classes")
    student = initialise(vgg((16, 32, 64), 1, 1, 10), seed=0)
    student = dfkd.distill(both, student, steps=steps).student
    reached, best = accuracy(dfkd.Teacher(student, both.spec)), accuracy(joint)
    print(f"the two side by side {accuracy(both):.1%}, a joint teacher {best:.1%}")
    print(f"merged student {reached:.1%}: {reached / best:.1%} of the joint teacher's")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    main(parser.parse_args().steps)
