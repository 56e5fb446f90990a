"""A loss of your own: one more ``Term`` in the objective that makes the images.

    python examples/own_loss.py [--steps 300]

A term is a name, a function of the ``PairOutputs`` (inputs, targets, what the teacher says) that
returns a scalar, and a weight. A written 0 or 8 is nearly symmetric: this term asks for it.
"""

import argparse
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

import dfkd
from dfkd.synthesis.methods.deep_inversion_config import cifar


def asymmetry(images: Tensor) -> Tensor:
    """Mean squared difference between N x C x H x W images and their mirror images."""
    return F.mse_loss(images, images.flip(-1))


def main(steps: int) -> None:
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    mirrored = dfkd.Term("asymmetry", lambda outputs: asymmetry(outputs.inputs), weight=50.0)
    # Sixteen images cannot have the statistics of a thousand: match them loosely.
    config = replace(cifar(), r_feature=1.0)
    classes = [0, 8]
    for name, extra in (("without the term", None), ("with it", mirrored)):
        made = dfkd.invert(teacher, classes, 16, steps=steps, extra=extra, config=config)
        images = made.images
        with torch.no_grad():
            known = teacher(images).argmax(1) == torch.tensor(classes).repeat(8)
        print(
            f"{name}: asymmetry {asymmetry(images).item():.4f}, "
            f"recognised {known.float().mean().item():.0%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    main(parser.parse_args().steps)
