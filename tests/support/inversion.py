"""An inversion of a moment, and a teacher of colour images for it."""

import torch
from torch import nn

from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

CONFIG = DeepInversionConfig(
    batch_size=4, iterations=40, low_resolution_iterations=8, lr=0.3, warmup=2, r_feature=0.01,
    jitter=1, flip=0.0, basis="chroma", smooth_start=True,
)  # fmt: skip


def teacher() -> Teacher:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6),
    )  # fmt: skip
    nn.init.normal_(layers[-1].weight, std=10.0)
    return Teacher(layers, ImageSpec(3, 12, 12))
