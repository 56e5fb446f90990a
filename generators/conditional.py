"""Conditioned decoders: by class label, or by an embedding of the class."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from generators.decoders import Decoder


class LabelConditioned(nn.Module):
    """A decoder whose latents are multiplied by a learned vector of their class.

    Source: Odena et al., ICML 2017 (AC-GAN); used without data by Xu et al.,
    ECCV 2020 (GDFQ).
    """

    def __init__(self, decoder: Decoder, num_classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.embedding = nn.Embedding(num_classes, decoder.latent_dim)

    def forward(self, latents: Tensor, targets: Tensor) -> Tensor:
        """Turn latents N x latent_dim and N class indices into images N x C x H x W."""
        images: Tensor = self.decoder(latents * self.embedding(targets))
        return images


class NoisyLinear(nn.Module):
    """``layers`` linear layers side by side, meant to be drawn anew from N(0, 1) again and again.

    The rows of a batch are dealt out in order, the same number to each layer (the
    last may get fewer). With ceil(batch / classes) layers and targets in the order
    0, 1, ..., classes - 1, 0, ... no layer meets a class twice, so equal inputs
    give different outputs: the randomness of NAYER is here, not in a latent.

    Source: Tran et al., CVPR 2024 (NAYER), section 3.3 ("K-to-1 noisy layer").
    """

    def __init__(self, in_features: int, out_features: int, layers: int = 1) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"NoisyLinear needs at least one layer, not {layers}")
        self.layers = layers
        self.weight = nn.Parameter(torch.empty(layers, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(layers, 1, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from the global random state; ``redraw`` takes an explicit one."""
        self.redraw(None)

    @torch.no_grad()
    def redraw(self, generator: Generator | None) -> None:
        """Draw weights from N(0, 1) on ``generator``'s device and zero the biases."""
        device = generator.device if generator is not None else self.weight.device
        noise = torch.randn(self.weight.shape, generator=generator, device=device)
        self.weight.copy_(noise)
        self.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map N x in_features to N x out_features."""
        rows = -(-len(inputs) // self.layers)
        padded = F.pad(inputs, (0, 0, 0, rows * self.layers - len(inputs)))
        groups = padded.view(self.layers, rows, -1)
        outputs = torch.baddbmm(self.bias, groups, self.weight.mT)
        return outputs.flatten(0, 1)[: len(inputs)]


class EmbeddingConditioned(nn.Module):
    """Class embedding -> batch-norm -> ``NoisyLinear`` -> decoder: NAYER's generator.

    Args:
        decoder: its ``latent_dim`` is the output of the noisy layers.
        embeddings: classes x dimensions, fixed (a buffer); text embeddings of the class
            names as published, or ``random_orthogonal``.
        layers: noisy layers; the paper has ceil(batch / classes).

    Source: Tran et al., CVPR 2024 (NAYER), Fig. 2.
    """

    embeddings: Tensor

    def __init__(self, decoder: Decoder, embeddings: Tensor, layers: int) -> None:
        super().__init__()
        dimensions = embeddings.shape[1]
        self.decoder = decoder
        self.norm = nn.BatchNorm1d(dimensions)
        self.noisy = NoisyLinear(dimensions, decoder.latent_dim, layers)
        self.register_buffer("embeddings", embeddings.detach().clone())

    def redraw(self, count: int, generator: Generator) -> Tensor:
        """Draw the noisy layers anew and return ``count`` targets for them.

        The targets run through the classes, over and over, from a random first one.
        """
        self.noisy.redraw(generator)
        classes, device = len(self.embeddings), generator.device
        first = torch.randint(classes, (), generator=generator, device=device)
        order = torch.arange(count, device=device) + first
        return (order % classes).to(self.embeddings.device)

    def forward(self, targets: Tensor) -> Tensor:
        """Turn N class indices into images N x C x H x W; in train mode N is at least 2."""
        images: Tensor = self.decoder(self.noisy(self.norm(self.embeddings[targets])))
        return images


def random_orthogonal(count: int, dimensions: int, generator: Generator) -> Tensor:
    """Draw ``count`` orthonormal rows of length max(dimensions, count) in place of embeddings.

    They say which classes differ, and nothing about how alike they are.
    """
    rows = torch.empty(count, max(dimensions, count), device=generator.device)
    return nn.init.orthogonal_(rows, generator=generator)
