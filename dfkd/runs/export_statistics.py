"""``dfkd.export_statistics``: what a teacher's owner can give out in place of the data.

Means and variances of what enters chosen layers, over all images and places, a channel at a time.
With noise the release is a Gaussian mechanism:

1. Drawings give each channel a unit, which is had without data.
2. Each image contributes one vector in those units (``dfkd.runs.contributions``). Its values are
   cut to +-``CUT`` units, and a vector that is longer than one unit a number counts less, by just
   as much. None of this looks at another image.
3. The mean of N such vectors moves by at most twice that length over N when one image is replaced
   (its L2 sensitivity), and gets Gaussian noise of that times what Opacus' accountant says for
   (epsilon, delta). N is taken as known; neighbours are data sets that differ in one image.
4. Means and variances are read off the noisy vector.

The guarantee is of what the file adds to a teacher that the receiver has anyway. The low bits of
floating-point noise are not defended beyond rounding to float32.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.datasets import as_given_images
from dfkd.errors import DfkdError
from dfkd.runs.contributions import (
    Unit,
    bounded,
    check_images_apart,
    contributions,
    length_of,
    read_off,
    units_of,
)
from dfkd.runs.privacy import ACCOUNTANT, asked_privacy, noise_multiplier, secret_gaussian
from dfkd.teacher import Teacher
from dfkd.teacher.layer_inputs import choose_inputs
from dfkd.teacher.pack import Pack, PackedNoise, write_pack

CUT = 10.0
"""Largest size of a value, in units, where noise is to hide it."""


def export_statistics(
    teacher: Teacher,
    data: Any,
    output: str | Path,
    *,
    layers: Sequence[str] = (),
    noise_epsilon: float | None = None,
    noise_delta: float | None = None,
    overwrite: bool = False,
) -> Pack:
    """Write the statistics of a teacher's layers on real data, and nothing else, to a file.

    ``dfkd.load_teacher(..., prior="pack:FILE")`` compares synthetic images with them.

    Args:
        teacher: frozen; unchanged afterwards.
        data: the images it was trained on, or such as those: in the forms of ``dfkd.distill``'s
            ``images``. Labels are not looked at.
        output: the file to write, such as pack.safetensors.
        layers: whose inputs; where none is named every normalisation layer, or, of a network with
            fewer than two, every convolution and linear layer but the first.
        noise_epsilon: of (epsilon, delta)-differential privacy; without it the statistics are
            exact. The noise is calibrated by Opacus, of the extra ``privacy``.
        noise_delta: likewise; less than 1 over the number of images.
        overwrite: replace a file that is there.

    Returns:
        What was written.

    Raises:
        DfkdError: a file that is there, images that do not fit, an unknown layer, no Opacus, or,
            where noise is asked for, a layer that mixes images.
    """
    privacy = asked_privacy(noise_epsilon, noise_delta)
    path = Path(output).expanduser()
    if path.exists() and not overwrite:
        raise DfkdError(f"{path} is there already: choose another `output`, or set `overwrite`")
    teacher.require_inside("statistics are read off layers")
    images = as_given_images(data, teacher.spec, "data").images
    units = units_of(teacher, choose_inputs(teacher, tuple(layers)))
    noise = None
    if privacy:
        check_images_apart(teacher, units, images[:3])
        norm = math.sqrt(length_of(units))
        deviation = noise_multiplier(privacy) * sensitivity(norm, len(images))
        noise = PackedNoise(privacy.epsilon, privacy.delta, norm, deviation, ACCOUNTANT)
    average = averaged(teacher, images, units, noise)
    found = read_off(average, units, noise.deviation if noise else 0.0)
    return write_pack(path, Pack(teacher.fingerprint(), len(images), found, noise))


def sensitivity(norm: float, images: int) -> float:
    """Return how far a mean of ``images`` vectors of at most ``norm`` moves if one is replaced.

    >>> sensitivity(1.0, 4)
    0.5
    """
    return 2 * norm / images


def averaged(
    teacher: Teacher, images: Tensor, units: Mapping[str, Unit], noise: PackedNoise | None
) -> Tensor:
    """Average what all images contribute: bounded and with noise, where there is to be any."""
    total: Tensor | float = 0.0
    for rows in contributions(teacher, images, units, CUT if noise else math.inf):
        total = total + (bounded(rows, noise.clip) if noise else rows).sum(0)
    average = torch.as_tensor(total) / len(images)
    if noise:
        average = average + noise.deviation * secret_gaussian(len(average)).to(average.device)
    return average
