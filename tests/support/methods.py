"""Every synthesis method in small, one row each, and the networks that its tests share."""

import copy
import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dfkd import recipes
from dfkd.networks import initialise, vgg
from dfkd.recipes import Recipe
from dfkd.runs.contributions import contributions, read_off, units_of
from dfkd.teacher import Teacher
from dfkd.teacher.layer_inputs import choose_inputs
from dfkd.teacher.pack import Pack
from dfkd.teacher.priors.pack import PackPrior
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class Row:
    """One method in small.

    Attributes:
        settings: of the synthesizer, so small that an update takes a moment.
        terms: what an update logs; all of it is non-zero.
        falls: the term that sinks within 60 updates on a tiny teacher; "" where updates learn
            nothing.
        still: settings over those for that test (a learning rate that fits the toy).
        restarts: updates start afresh, so that the 60 steps are those within one.
        teacher: whom the test asks: some methods want a transformer.
        bounded: images are in [0, 1]; where a paper emits normalised images they need not be.
    """

    settings: Mapping[str, Any]
    terms: tuple[str, ...] = ()
    falls: str = ""
    still: Mapping[str, Any] = field(default_factory=dict)
    bounded: bool = True
    restarts: bool = False
    teacher: str = "vgg"


ROWS = {
    "redraw": Row(
        {"draws": 24, "refine_batch": 16, "refine_steps": 2},
        ("loss", "bn_kl", "onehot", "js"),
        "bn_kl",
        restarts=True,
    ),
    "drawings": Row({}),
    "deep_inversion": Row(
        {"batch_size": 16, "iterations": 4, "adi": 1.0},
        ("loss", "onehot", "bn", "tv_l2", "js"),
        "bn",
        {"iterations": 60},
    ),
    "nayer": Row(
        {"g_steps": 2, "synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8, "embedding_dim": 8},
        ("loss", "bn", "onehot", "adv"),
        "bn",
        {"recreate": 100},
    ),
    "spaceship": Row(
        {"g_steps": 2, "synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8, "capacity": 100},
        ("loss", "bn", "onehot"),
        "bn",
    ),
    "dfad": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "l1"),
        "loss",
        bounded=False,
    ),
    "dfme": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("l1",),
    ),
    "disguide": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8, "width": 4, "capacity": 200},
        ("loss", "disagreement", "diversity", "clone"),
    ),
    "zskt": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "kd_mean"),
        "loss",
        bounded=False,
    ),
    "dfq": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "kd", "bn", "onehot", "balance"),
        "bn",
    ),
    "dafl": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "onehot", "balance10", "activation"),
        "onehot",
        {"lr_g": 0.01},
        bounded=False,
    ),
    "pre": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8, "memory_dim": 8, "memory_ngf": 4},
        (
            *("loss", "onehot", "balance10", "activation", "js"),
            *("memory_reconstruction", "memory_kl"),
        ),
        "memory_reconstruction",
        bounded=False,
    ),
    "cmi": Row(
        {"g_steps": 3, "synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8, "cr_dim": 8},
        ("loss", "bn", "onehot", "adv", "contrastive"),
        "loss",
        {"lr_g": 0.01},
        restarts=True,
    ),
    "mad": Row(
        {"synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "bn", "onehot", "kd"),
        "bn",
    ),
    "adi": Row(
        {"batch_size": 16, "iterations": 3},
        ("loss", "onehot", "bn", "tv_l2", "js"),
        "bn",
        restarts=True,
    ),
    "fast": Row(
        {"g_steps": 2, "warmup": 0, "synthesis_batch_size": 16, "ngf": 4, "latent_dim": 8},
        ("loss", "bn", "onehot", "adv"),
        "bn",
    ),
    "smi": Row(
        {"batch_size": 16, "iterations": 4, "drops": (0.25, 0.5)},
        ("loss", "onehot", "tv_l2"),
        "onehot",
        {"iterations": 200, "lr": 0.05},
        teacher="vit",
    ),
}


ORDINARY = [name for name, row in ROWS.items() if row.teacher == "vgg"]
"""Methods that ask for no particular architecture."""


def make_teacher(
    channels: int = 1, classes: int = 4, side: int = 8, task: str | None = None
) -> Teacher:
    """A small VGG whose statistics are those of real inputs and whose answers are decided."""
    network = initialise(vgg((8, 16), 1, channels, classes), seed=1)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    for _ in range(4):
        network(torch.randn(32, channels, side, side, generator=generator))
    with torch.no_grad():
        network.head.weight *= 5
    spec = ImageSpec(channels, side, side, (0.5,) * channels, (0.25,) * channels)
    return Teacher(network, spec, task=task)


def make_vit(channels: int = 1, classes: int = 4, side: int = 8) -> Teacher:
    """A tiny transformer of timm's, of random weights, with answers that are decided."""
    torch.manual_seed(3)
    network = VisionTransformer(
        img_size=side, patch_size=2 if side < 16 else 8, in_chans=channels, num_classes=classes,
        embed_dim=16, depth=2, num_heads=2, weight_init="jax",
    )  # fmt: skip
    with torch.no_grad():
        network.pos_embed.normal_()
        network.head.weight.normal_()
    return Teacher(network, ImageSpec(channels, side, side, (0.5,) * channels, (0.25,) * channels))


def teacher_for(method: str, channels: int = 1, classes: int = 4, side: int = 8) -> Teacher:
    """The small teacher that a method's row names."""
    make = {"vgg": make_teacher, "vit": make_vit}[ROWS[method].teacher]
    return make(channels, classes, side)


def make_bare_teacher(channels: int = 1, classes: int = 4) -> Teacher:
    """A network without any norm, with a pack of statistics of what enters its layers."""
    network = initialise(
        nn.Sequential(
            nn.Conv2d(channels, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 1, 1),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
        ), seed=1,
    )  # fmt: skip
    spec = ImageSpec(channels, 8, 8, (0.5,) * channels, (0.25,) * channels)
    bare = Teacher(network, spec)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, *spec.shape), generator=generator, dtype=torch.uint8)
    units = units_of(bare, choose_inputs(bare))
    average = torch.cat(list(contributions(bare, images, units))).mean(0)
    pack = Pack(bare.fingerprint(), len(images), read_off(average, units))
    return Teacher(network, spec, prior=PackPrior(network, pack))


def make_student(channels: int = 1, classes: int = 4) -> nn.Module:
    """As the teacher, with blunter answers: the two agree often and not always."""
    student = copy.deepcopy(make_teacher(channels, classes).network).requires_grad_(True).train()
    with torch.no_grad():
        student.head.weight *= 0.5
        student.stages[0][0].weight += 0.05 * torch.randn(
            student.stages[0][0].weight.shape, generator=torch.Generator().manual_seed(5)
        )
    return student


def small(method: str, **settings: Any) -> Recipe:
    """The method's own recipe with the settings of its row, three student steps an update."""
    recipe = recipes.recipe(method)
    values = dict(ROWS[method].settings) | settings
    synthesizer = dataclasses.replace(recipe.synthesizer, **values)
    alternation = dataclasses.replace(
        recipe.alternation, warmup_updates=2, steps_per_update=3, batch_size=16
    )
    return dataclasses.replace(recipe, synthesizer=synthesizer, alternation=alternation)


def build(method: str, teacher: Teacher, seed: int = 0, autocast=nullcontext, **settings: Any):
    """A synthesizer of the row, on that teacher."""
    recipe = dataclasses.replace(small(method, **settings), seed=seed)
    teacher.autocast = autocast
    return recipes.build_synthesizer(recipe, teacher)


def same(one: Any, other: Any) -> bool:
    """Whether two values, batches and predictions among them, are equal tensor by tensor."""
    if one is None or other is None:
        return one is other
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(same(a, b) for a, b in zip(one, other, strict=True))


class Odd(nn.Module):
    """A student without convolutions, norms or names that match anything."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return x.flatten(1) @ self.w
