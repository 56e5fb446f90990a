"""What ``dfkd.visualize`` shows: for each choice of ``what`` a function that makes it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dfkd.datasets.pictures import Wanted, read_picture
from dfkd.report.units import percent
from dfkd.runs.exhibit import Exhibit, Group, Pulse
from dfkd.runs.inversion_exhibits import STILLS, show_classes, show_evolution
from dfkd.runs.latent_walk import walk
from dfkd.runs.options import Compute
from dfkd.runs.visualization_order import VisualizationOrder
from dfkd.synthesis.activation import ActivationConfig, excite
from dfkd.synthesis.layer_outputs import (
    channel_dim,
    check_layers,
    layer_outputs,
    spread_evenly,
    spread_layers,
)
from dfkd.synthesis.reconstruction import ReconstructionConfig, reconstruct
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec, dequantize


def show_channels(
    teacher: Teacher, order: VisualizationOrder, compute: Compute, pulse: Pulse
) -> Exhibit:
    """Make an image for each channel of each layer that excites it most."""
    outputs = layer_outputs(teacher)
    # The mean of what a convolution returns is a brightness: the first one shows no pattern.
    layers = list(order.layers or spread_layers(outputs, teacher, 4, first=False))
    check_layers(layers, outputs, teacher)
    config = ActivationConfig(order.steps or ActivationConfig.steps)
    groups, facts = [], {}
    for place, layer in enumerate(layers):
        width = outputs[layer][channel_dim(teacher, layer, outputs[layer])]
        channels = list(order.channels or range(min(width, order.count)))

        def on_step(step: int, images: Tensor, place: int = place) -> None:
            done = place * config.steps + step
            pulse(done / (len(layers) * config.steps), done)

        found = excite(teacher, layer, channels, config, order.seed, on_step)
        pairs = zip(channels, found.before.tolist(), found.after.tolist(), strict=True)
        captions = [f"{index}\n{before:.2g} → {after:.2g}" for index, before, after in pairs]
        groups.append(Group(layer, f"{width} channels", found.images.cpu(), captions))
        facts[layer] = dict(zip(map(str, channels), found.after.tolist(), strict=True))
    lead = (
        "Images that excite one channel of a layer each. Under them the channel and its mean over "
        "the image, at the start of the search and at its end."
    )
    return Exhibit("What channels look for", lead, groups, facts=facts)


def show_reconstruction(
    teacher: Teacher, order: VisualizationOrder, compute: Compute, pulse: Pulse
) -> Exhibit:
    """Reconstruct a picture from layer after layer."""
    assert order.picture is not None
    outputs = layer_outputs(teacher)
    layers = list(order.layers or spread_layers(outputs, teacher, 6))
    check_layers(layers, outputs, teacher)
    image = given_image(order, teacher.spec)
    config = ReconstructionConfig(order.steps or ReconstructionConfig.steps)
    found = reconstruct(
        teacher, image, layers, config, order.seed,
        lambda step, images: pulse(step / config.steps, step),
    )  # fmt: skip
    errors = found.errors.tolist()
    captions = ["original", *(f"{n}\n{percent(e)}" for n, e in zip(layers, errors, strict=True))]
    images = torch.cat([image[None], found.images.cpu()])
    lead = (
        "Images that a layer takes for the given one: what it no longer tells is what the search "
        "was free to choose. Under each, the error of its features, relative to their norm."
    )
    groups = [Group("From layer to layer", "", images, captions)]
    facts = dict(zip(layers, errors, strict=True))
    real = f"{order.picture.name}, to be reconstructed; no training"
    return Exhibit("What each layer keeps", lead, groups, facts=facts, real=real)


def show_walk(
    teacher: Teacher, order: VisualizationOrder, compute: Compute, pulse: Pulse
) -> Exhibit:
    """Let a generator learn, and walk through its latents."""
    classes = None if order.classes is None else order.class_list(teacher)
    found = walk(
        teacher, order.method, classes, order.frames, order.steps, order.seed,
        pulse,
    )  # fmt: skip
    kept = sorted({*spread_evenly(range(len(found.images)), STILLS), *found.stops})
    names = [teacher.class_names[index] for index in found.answers.argmax(1).tolist()]
    sure = found.answers.max(1).values.tolist()
    captions = [f"{names[i]}\n{percent(sure[i], 0)}" for i in kept]
    stations = " to ".join(names[i] for i in found.stops)
    lead = (
        f"What {order.method}’s generator draws on the way from {stations}, along the arc between "
        "their latents. Under each image, the teacher’s answer."
    )
    frames = teacher.spec.encode(found.images)[:, None]
    groups = [Group(stations, f"{len(found.images)} frames", found.images[kept], captions)]
    return Exhibit("A walk between latents", lead, groups, frames, {"stops": found.stops})


def given_image(order: VisualizationOrder, spec: ImageSpec) -> Tensor:
    """Read the picture, brought to the teacher's size and channels: C x H x W in [0, 1].

    Raises:
        DfkdError: it cannot be read, or has not the channels that the teacher takes.
    """
    assert order.picture is not None
    pixels = torch.tensor(read_picture(order.picture, Wanted(spec)).pixels).permute(2, 0, 1)
    return dequantize(pixels) if pixels.dtype == torch.uint8 else pixels


EXHIBITS: Mapping[
    str, Callable[[Teacher, VisualizationOrder, Compute, Pulse], Exhibit]
] = {
    "classes": show_classes,
    "channels": show_channels,
    "reconstruction": show_reconstruction,
    "walk": show_walk,
    "evolution": show_evolution,
}  # fmt: skip
"""What can be shown, by the names of ``visualization_order.WHAT``."""
