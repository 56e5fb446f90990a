"""Critics that tell real samples from others: of logits, of features, of images.

All give N scores before any sigmoid, high for what they take as real. None has a batch-norm, so
that a sample's score does not depend on the batch it comes in; spectral normalisation (Miyato et
al., ICLR 2018) bounds each layer instead. It improves its estimate in every forward pass in train
mode, in buffers that ``state_dict`` holds. Weights are drawn from the global random state.
"""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class LogitCritic(nn.Module):
    """Critic of logits: an MLP, with a second head that names the class.

    The mean of each row is subtracted first: a softmax does not see it, so it must not give a
    network away. The scale stays: a student is often known by its lesser confidence.

    Args:
        num_classes: logits of a sample.
        width: of the hidden layers.
        depth: hidden layers, each followed by LeakyReLU(0.2).
        spectral: spectral normalisation of every layer on the way to the score.

    Raises:
        ValueError: a count below 1.

    Source: Xu, Hsu & Huang (2018), "Training shallow and thin networks for acceleration via
    knowledge distillation with conditional adversarial networks"; the second head is that of
    Odena et al., ICML 2017 (AC-GAN).
    """

    def __init__(
        self, num_classes: int, width: int = 128, depth: int = 2, spectral: bool = True
    ) -> None:
        super().__init__()
        _check_counts(num_classes=num_classes, width=width, depth=depth)
        layers: list[nn.Module] = []
        for before in (num_classes, *[width] * (depth - 1)):
            layers += [_bounded(nn.Linear(before, width), spectral), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.score = _bounded(nn.Linear(width, 1), spectral)
        # Not bounded: the score does not depend on it, and a classifier needs large logits.
        self.classes = nn.Linear(width, num_classes)

    def forward(self, answers: Tensor) -> Tensor:
        """Score logits N x classes: N numbers, float32."""
        return _scores(self.score(self._hidden(answers)))

    def classify(self, answers: Tensor) -> Tensor:
        """Classify logits N x classes: return N x classes logits of what each is about."""
        classes: Tensor = self.classes(self._hidden(answers))
        return classes

    def _hidden(self, answers: Tensor) -> Tensor:
        hidden: Tensor = self.body(answers - answers.mean(1, keepdim=True))
        return hidden


class FeatureCritic(nn.Module):
    """Critic of features: reads each position alone, then scores their mean by an MLP.

    A 1x1 convolution and LeakyReLU(0.2) read the channels at every position, so that maps of any
    size will do, and more than their channels' means tells them apart.

    Args:
        channels: of the maps, or length of the vectors.
        width: of the hidden layers.
        spectral: spectral normalisation of every layer.

    Raises:
        ValueError: a count below 1.
    """

    def __init__(self, channels: int, width: int = 64, spectral: bool = True) -> None:
        super().__init__()
        _check_counts(channels=channels, width=width)
        self.project = nn.Sequential(
            _bounded(nn.Conv2d(channels, width, 1), spectral), nn.LeakyReLU(0.2)
        )
        self.judge = nn.Sequential(
            _bounded(nn.Linear(width, width), spectral),
            nn.LeakyReLU(0.2),
            _bounded(nn.Linear(width, 1), spectral),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Score maps N x C x H x W or vectors N x C: N numbers, float32."""
        maps = features[:, :, None, None] if features.ndim == 2 else features
        return _scores(self.judge(self.project(maps).mean((2, 3))))


class ImageCritic(nn.Module):
    """Critic of images: strided convolutions, then one linear layer.

    Each stage halves the sides, rounding down (4x4, stride 2, as DCGAN's; every pixel is read at
    odd sides too), until the shorter one is at most 4. Channels double from ``base`` up to
    8 ``base``. At 3x32x32 with base 32 it has 0.17 M parameters.

    Args:
        channels, height, width: the images; height and width at least 8.
        base: channels after the first stage.
        spectral: spectral normalisation of every layer.

    Raises:
        ValueError: an image below 8x8 or a count below 1.

    Source: Radford et al., ICLR 2016 (DCGAN); Miyato et al., ICLR 2018 (SNGAN).
    """

    def __init__(
        self, channels: int, height: int, width: int, base: int = 32, spectral: bool = True
    ) -> None:
        super().__init__()
        _check_counts(channels=channels, base=base)
        if min(height, width) < 8:
            raise ValueError(f"an image critic needs images of at least 8x8, not {height}x{width}")
        layers: list[nn.Module] = []
        before, after = channels, base
        while min(height, width) > 4:
            layers += [
                _bounded(nn.Conv2d(before, after, 4, 2, 1), spectral),
                nn.LeakyReLU(0.2),
            ]
            before, after = after, min(2 * after, 8 * base)
            height, width = height // 2, width // 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.score = _bounded(nn.Linear(before * height * width, 1), spectral)

    def forward(self, images: Tensor) -> Tensor:
        """Score images N x C x H x W in [0, 1]: N numbers, float32."""
        return _scores(self.score(self.body(2 * images - 1)))


def _bounded(layer: nn.Module, spectral: bool) -> nn.Module:
    return spectral_norm(layer) if spectral else layer


def _scores(column: Tensor) -> Tensor:
    # float32 under autocast too: a loss near its optimum is a small difference of scores.
    return column.squeeze(1).float()


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"a critic needs a positive {name}, not {count}")
