"""Images drawn at random: silhouettes filled with textures. Nothing is optimised.

A drawing is a union of a few superellipses (one of them near the middle, often mirrored,
sometimes with holes), filled with a mixture of smooth noise at two scales, white noise and
stripes, on a plain or textured ground. Where things are written instead of filled, each
superellipse is an outline or a bar. ``Style`` says how often each happens. Kin: networks
pre-trained on noise processes (Baradad et al., NeurIPS 2021).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Device = torch.device | str


@dataclass(frozen=True)
class Style:
    """Distribution of drawings. Probabilities in [0, 1], lengths in half image sizes.

    Attributes:
        shapes: superellipses in one silhouette, at most.
        size_low, size_high: range of their half axes.
        mirrored: probability that a silhouette is left-right symmetric.
        holes: probability of a cut-out.
        inner: probability of an inner part of another tone.
        texture: strength of smooth noise, white noise and stripes in the filling.
        dark_ground, plain_ground: probability that the ground is black; that it is
            one tone (otherwise it is textured like a filling).
        colour: spread of the channels around a common tone (0 is grey).
        strokes: probability that a shape is a stroke: its outline, or the bar through it.
        thickness: of a stroke, half to one and a half times this.
    """

    shapes: int = 4
    size_low: float = 0.3
    size_high: float = 1.0
    mirrored: float = 0.6
    holes: float = 0.3
    inner: float = 0.3
    texture: float = 0.25
    dark_ground: float = 1.0
    plain_ground: float = 1.0
    colour: float = 0.3
    strokes: float = 0.0
    thickness: float = 0.12


def draw(
    count: int,
    shape: tuple[int, int, int],
    generator: Generator | None = None,
    styles: Sequence[Style] = (Style(),),
    device: Device = "cpu",
) -> Tensor:
    """Draw ``count`` images of ``shape`` (C, H, W) at random, float in [0, 1].

    Each has one of ``styles`` by chance.
    """
    channels, height, width = shape
    style = _mix(styles, count, generator, device)
    written = any(one.strokes for one in styles)
    silhouette, inner = _silhouettes(count, height, width, style, generator, written)
    tone, inner_tone, ground_tone = (
        _tones(count, channels, style["colour"], generator, device) for _ in range(3)
    )
    texture = _textures(
        2 * count, height, width, style["texture"].repeat(2, 1, 1, 1), generator, device
    )
    ground_texture, fill_texture = texture.chunk(2)
    plain = _chance(style["plain_ground"], generator)
    dark = _chance(style["dark_ground"], generator)
    ground = ground_tone + ~plain * ground_texture
    fill = torch.where(inner, inner_tone, tone) + fill_texture
    return torch.where(silhouette, fill, ~dark * ground).clamp(0, 1)


def _mix(
    styles: Sequence[Style], count: int, generator: Generator | None, device: Device
) -> dict[str, Tensor]:
    """One style a drawing, as a column of shape (count, 1, 1, 1) for every attribute."""
    choice = (len(styles) * _uniform((count,), generator, device)).long()
    return {
        name: torch.tensor([float(asdict(style)[name]) for style in styles], device=device)[
            choice
        ].view(-1, 1, 1, 1)
        for name in asdict(styles[0])
    }


def _uniform(size: tuple[int, ...], generator: Generator | None, device: Device) -> Tensor:
    """Draw from [0, 1) on the generator's device: the same drawings on every device."""
    source = device if generator is None else generator.device
    return torch.rand(size, generator=generator, device=source).to(device)


def _normal(size: tuple[int, ...], generator: Generator | None, device: Device) -> Tensor:
    source = device if generator is None else generator.device
    return torch.randn(size, generator=generator, device=source).to(device)


def _chance(probability: Tensor, generator: Generator | None) -> Tensor:
    size = tuple(probability.shape)
    return _uniform(size, generator, probability.device) < probability


def _tones(
    count: int,
    channels: int,
    colour: Tensor,
    generator: Generator | None,
    device: Device,
) -> Tensor:
    """A random grey a drawing, spread over the channels; (count, channels, 1, 1)."""
    grey = _uniform((count, 1, 1, 1), generator, device)
    if channels == 1:
        return grey
    spread = _normal((count, channels, 1, 1), generator, device)
    return grey + colour * spread


def _silhouettes(
    count: int,
    height: int,
    width: int,
    style: dict[str, Tensor],
    generator: Generator | None,
    written: bool,
) -> tuple[Tensor, Tensor]:
    """Boolean masks (count, 1, height, width): the silhouette, and an inner part of it.

    Only where some are ``written`` is the dice thrown for it.
    """
    like = style["shapes"]
    vertical = torch.linspace(-1, 1, height, device=like.device).view(1, 1, height, 1)
    horizontal = torch.linspace(-1, 1, width, device=like.device).view(1, 1, 1, width)
    mirrored = _chance(style["mirrored"], generator)
    horizontal = torch.where(mirrored, horizontal.abs(), horizontal)
    # The last two of six superellipses are the hole and the inner part.
    slots = 6
    draws = _uniform((8, count, slots, 1, 1), generator, like.device)
    low, high = style["size_low"], style["size_high"]
    axes = low + (high - low).clamp_min(0) * draws[:2]
    centres = 1.2 * draws[2:4] - 0.6
    centres[:, :, 0] *= 0.3
    angle = torch.pi * draws[4]
    exponent = 1 + 5 * draws[5].square()
    dx, dy = horizontal - centres[0], vertical - centres[1]
    along = (angle.cos() * dx + angle.sin() * dy).abs() / axes[0]
    across = (angle.cos() * dy - angle.sin() * dx).abs() / axes[1]
    level = along.pow(exponent) + across.pow(exponent)
    inside = level < 1
    if written:
        chance, kind, width_of = _uniform((3, count, slots, 1, 1), generator, like.device)
        thick = style["thickness"] * (0.5 + width_of)
        # The level of the inner border of an outline, whose power saves one of every pixel.
        hollow = (1 - thick / axes.amin(0)).clamp_min(0).pow(exponent)
        outline, bar = inside & (level > hollow), (along < 1) & (across * axes[1] < thick / 2)
        stroke = torch.where(kind < 0.5, outline, bar)
        inside = torch.where(chance < style["strokes"], stroke, inside)
    wanted = torch.arange(slots - 2, device=like.device).view(1, -1, 1, 1)
    number = 1 + (style["shapes"] * draws[6, :, :1]).floor().clamp(max=slots - 3)
    union = (inside[:, : slots - 2] & (wanted < number)).any(1, keepdim=True)
    hole = inside[:, slots - 2 : slots - 1] & _chance(style["holes"], generator)
    inner = inside[:, slots - 1 :] & _chance(style["inner"], generator)
    return union & ~hole, inner


def _textures(
    count: int,
    height: int,
    width: int,
    strength: Tensor,
    generator: Generator | None,
    device: Device,
) -> Tensor:
    """Zero-mean textures (count, 1, height, width): two scales of noise, grain and stripes."""
    weights = _uniform((4, count, 1, 1, 1), generator, device).square()
    total = torch.zeros((count, 1, height, width), device=device)
    for index, divisor in enumerate((7, 3)):
        size = (count, 1, max(2, height // divisor), max(2, width // divisor))
        noise = _normal(size, generator, device)
        smooth = F.interpolate(noise, (height, width), mode="bilinear", align_corners=False)
        total += 0.35 * weights[index] * smooth
    grain = _normal((count, 1, height, width), generator, device)
    total += 0.25 * weights[2] * grain
    angle, frequency, phase = _uniform((3, count, 1, 1, 1), generator, device)
    rows = torch.linspace(0, 1, height, device=device).view(1, 1, height, 1)
    columns = torch.linspace(0, 1, width, device=device).view(1, 1, 1, width)
    direction = (torch.pi * angle).cos() * rows + (torch.pi * angle).sin() * columns
    waves = torch.sin(2 * torch.pi * ((2 + 10 * frequency) * direction + phase))
    return strength * (total + 0.25 * weights[3] * waves)
