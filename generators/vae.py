"""A generative memory of images: a small variational autoencoder."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from generators.decoders import Decoder


class VariationalAutoencoder(nn.Module):
    """A convolutional encoder, mirror of a ``Decoder``, and that decoder with a linear end.

    Every doubling of the decoder becomes a convolution of stride 2 with LeakyReLU(0.2); a linear
    layer gives mean and log-variance of each latent. The decoder's output is the mean of a
    Gaussian of variance 1, so its end (a sigmoid, or tanh and batch-norm) is taken off: images
    may lie in any space, best one in which they have about unit variance.

    With a decoder of 128 latents and ngf 32 for 3x32x32 images it has 1.65 M parameters.

    Source: Kingma & Welling, ICLR 2014; as a memory for distillation Binici et al., AAAI 2022.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        decoder.end = nn.Identity()
        channels, ngf = decoder.shape[0], decoder.to_image.in_channels
        widths = [channels, ngf, *[2 * ngf] * (len(decoder.stages) - 1)]
        # A stride of 2 rounds sizes up, as the decoder's do: odd sides fit.
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.2)]
        rows, columns = decoder.sizes[0]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.posterior = nn.Linear(widths[-1] * rows * columns, 2 * decoder.latent_dim)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode images N x C x H x W and decode them, with N x latent_dim ``noise`` of N(0, 1).

        Returns:
            The images reconstructed from mean + noise * standard deviation; mean and log-variance
            of the latents, N x latent_dim each.
        """
        mean, log_variance = self.posterior(self.encoder(images)).chunk(2, dim=1)
        latents = mean + noise * torch.exp(0.5 * log_variance)
        return self.decoder(latents), mean, log_variance

    def recall(self, latents: Tensor) -> Tensor:
        """Decode latents N x latent_dim of N(0, 1) into images like those learned."""
        images: Tensor = self.decoder(latents)
        return images
