"""A network of your own as a teacher: a function that builds it, and its weights in a file.

    python examples/own_teacher_from_a_file.py [--steps 150]

This file holds the factory, trains it on toy images (stripes of four directions) and saves
the weights. ``dfkd probe`` and ``dfkd distill`` take the URI FILE.py:FACTORY?weights=FILE.
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import dfkd

NAMES = ("lying", "rising", "standing", "falling")


def stripes_network(num_classes: int = 4, width: int = 16) -> nn.Module:
    """The factory: keywords after the ? of the URI end up here."""
    layers: list[nn.Module] = []
    for channels in (1, width):
        layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width, num_classes))


def stripes(labels: Tensor) -> Tensor:
    """N x 1 x 16 x 16 images in [0, 1]: waves along one of four directions."""
    angle = ((labels + 2) * math.pi / 4).view(-1, 1, 1, 1)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    phase = 2 * math.pi * torch.rand(len(labels), 1, 1, 1)
    return 0.5 + 0.5 * torch.sin(1.2 * (x * angle.cos() + y * angle.sin()) + phase)


def train(network: nn.Module, steps: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for labels in torch.randint(4, (steps, 64)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(stripes(labels)), labels).backward()
        optimizer.step()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    weights = Path(tempfile.mkdtemp()) / "stripes.pth"
    train(network := stripes_network(), parser.parse_args().steps)
    torch.save(network.state_dict(), weights)

    uri = f"{__file__}:stripes_network?weights={weights}"
    teacher = dfkd.load_teacher(uri, image="1x16x16", class_names=NAMES)
    labels = torch.arange(200) % 4
    right = (teacher(stripes(labels)).argmax(1) == labels).float().mean()
    print(f"dfkd probe '{uri}' --image 1x16x16\naccuracy {right:.1%}")
    for advice in dfkd.probe(teacher).methods:
        print(f"{advice.name:15} {'yes' if advice.possible else 'no':4} {advice.reason}")
