"""Latent -> image decoders of the data-free distillation papers, for any image size."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class Decoder(nn.Module):
    """G_s, the decoder of CMI, FastDFKD, NAYER and SpaceshipNet; also DAFL's, DFAD's and ZSKT's.

    A linear layer lays out a coarse map; each stage doubles its size (nearest
    neighbour), then convolution, batch-norm, LeakyReLU(0.2); a last convolution
    gives the channels. At 3x32x32, latent_dim 256, ngf 64 it has 2.33 M
    parameters. A size that is no multiple of 2**stages starts from its quotient
    rounded up, so every size in between is half the next one, rounded up.

    Args:
        channels, height, width: the images; a side of 1 (a waveform's) is never doubled.
        latent_dim: length of a latent vector (the papers' nz).
        ngf: channels before the last convolution; twice that before the last stage.
        large: G_l, whose coarse map has 4 ngf channels instead of 2 ngf.
        normalized: DAFL's and DFAD's end: tanh and an affine-free batch-norm instead
            of a sigmoid. Such images are *normalised*, not in [0, 1]: undo it with
            the teacher's ``ImageSpec.denormalize`` before using them as images.
        affine: ZSKT's form of ``normalized``: no tanh, and the batch-norm learns scale and shift.
        eps: of the stages' batch-norms; DAFL's published code has 0.8.
        stages: doublings; 2 as published, 4 keeps the linear layer small at 224x224.

    Raises:
        ValueError: a size or count below 1, or ``affine`` without ``normalized``.

    Source: Chen et al., ICCV 2019 (DAFL); Fang et al., IJCAI 2021 (CMI); Micaelli & Storkey,
    NeurIPS 2019 (ZSKT).
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        latent_dim: int = 256,
        ngf: int = 64,
        *,
        large: bool = False,
        normalized: bool = False,
        affine: bool = False,
        eps: float = 1e-5,
        stages: int = 2,
    ) -> None:
        super().__init__()
        if min(channels, height, width, latent_dim, ngf, stages) < 1:
            raise ValueError(
                f"a decoder needs positive sizes and counts, not {channels}x{height}x{width}, "
                f"latent_dim {latent_dim}, ngf {ngf}, stages {stages}"
            )
        if affine and not normalized:
            raise ValueError("affine is a form of normalized: a decoder cannot have it alone")
        self.shape, self.latent_dim = (channels, height, width), latent_dim
        self.sizes = [(-(-height // 2**k), -(-width // 2**k)) for k in reversed(range(stages + 1))]
        widths = [(4 if large else 2) * ngf, *[2 * ngf] * (stages - 1), ngf]
        rows, columns = self.sizes[0]
        self.project = nn.Linear(latent_dim, widths[0] * rows * columns)
        self.norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after, eps),
                nn.LeakyReLU(0.2),
            )
            for before, after in pairwise(widths)
        )
        self.to_image = nn.Conv2d(ngf, channels, 3, padding=1)
        self.end: nn.Module = nn.Sigmoid()
        if affine:
            self.end = nn.BatchNorm2d(channels)
        elif normalized:
            self.end = nn.Sequential(nn.Tanh(), nn.BatchNorm2d(channels, affine=False))

    def forward(self, latents: Tensor) -> Tensor:
        """Decode N x latent_dim into images N x C x H x W, in [0, 1] unless ``normalized``."""
        return self.from_features(0, self._coarse(latents))

    def features(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Return the maps on the way to the images: the coarse one (depth 0), then each stage's."""
        maps = [self._coarse(latents)]
        for size, stage in zip(self.sizes[1:], self.stages, strict=True):
            maps.append(stage(F.interpolate(maps[-1], size=size)))
        return tuple(maps)

    def from_features(self, depth: int, maps: Tensor) -> Tensor:
        """Decode what ``features`` has at ``depth`` into images."""
        for size, stage in zip(self.sizes[depth + 1 :], self.stages[depth:], strict=True):
            maps = stage(F.interpolate(maps, size=size))
        images: Tensor = self.end(self.to_image(maps))
        return images

    def _coarse(self, latents: Tensor) -> Tensor:
        coarse: Tensor = self.norm(self.project(latents).unflatten(1, (-1, *self.sizes[0])))
        return coarse
