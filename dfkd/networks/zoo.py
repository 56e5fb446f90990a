"""Small reference networks: the bundled teachers and students, and what the tests train.

They exist so that the demo, the examples and the tests need no download. Any
other ``nn.Module`` works as well; nothing in the package treats these specially.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.networks.seeding import seeded


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., CVPR 2016, Fig. 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """CIFAR-style residual network: three stages of ``blocks`` and ``widths``."""

    def __init__(
        self, blocks: Sequence[int], in_channels: int, num_classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[0], blocks[0], stride=1)
        self.layer2 = _stage(widths[0], widths[1], blocks[1], stride=2)
        self.layer3 = _stage(widths[1], widths[2], blocks[2], stride=2)
        self.fc = nn.Linear(widths[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(in_channels, out_channels, stride)
    rest = [ResidualBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def resnet(
    depth: int = 20,
    in_channels: int = 3,
    num_classes: int = 10,
    widths: Sequence[int] = (16, 32, 64),
    blocks: Sequence[int] | None = None,
) -> nn.Module:
    """Build a ResNet for small images: N x C x H x W to N x classes.

    Args:
        depth: 6n+2 for n residual blocks in each of the three stages.
        in_channels: channels of an image.
        num_classes: number of logits.
        widths: channels of each of the three stages.
        blocks: residual blocks of each stage, where they differ; ``depth`` is ignored then.

    Raises:
        ValueError: another depth, or other than three positive widths or blocks.
    """
    if blocks is None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n+2 (8, 14, 20, ...), not {depth}")
        blocks = (depth // 6,) * 3
    if len(widths) != 3 or len(blocks) != 3 or min(*widths, *blocks) < 1:
        raise ValueError(f"three widths and three blocks, all >= 1, not {widths} and {blocks}")
    return ResNet(tuple(blocks), in_channels, num_classes, tuple(widths))


class VGG(nn.Module):
    """Plain stacks of 3x3 convolutions, max-pooled between stages (Simonyan & Zisserman, 2015)."""

    def __init__(
        self, widths: Sequence[int], convolutions: int, in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for width in widths:
            layers: list[nn.Module] = []
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                in_channels = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for index, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if index else x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def vgg(
    widths: Sequence[int] = (32, 64, 128),
    convolutions: int = 2,
    in_channels: int = 3,
    num_classes: int = 10,
) -> nn.Module:
    """Build a small VGG with batch-norm: N x C x H x W to N x classes.

    Args:
        widths: channels of each stage; images are halved between stages.
        convolutions: 3x3 convolutions in a stage.
        in_channels: channels of an image.
        num_classes: number of logits.
    """
    return VGG(tuple(widths), convolutions, in_channels, num_classes)


class BiLSTM(nn.Module):
    """An LSTM over the frames, in both directions (Graves & Schmidhuber, 2005); then their mean."""

    def __init__(
        self, hidden: int, layers: int, channels: int, in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            in_channels * channels, hidden, layers, batch_first=True, bidirectional=True
        )
        self.head = nn.Linear(2 * hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        heard, _ = self.lstm(x.flatten(1, 2).transpose(1, 2))
        logits: Tensor = self.head(heard.mean(1))
        return logits


def bilstm(
    hidden: int = 64,
    layers: int = 1,
    channels: int = 12,
    in_channels: int = 1,
    num_classes: int = 9,
) -> nn.Module:
    """Build a recurrent network for signals: N x in_channels x channels x frames to N x classes.

    Args:
        hidden: units of the LSTM in each direction.
        layers: LSTM layers.
        channels: rows of a signal, such as cepstrum coefficients; frames may be any number.
        in_channels: channels of the input; 1 for plain signals.
        num_classes: number of logits.
    """
    return BiLSTM(hidden, layers, channels, in_channels, num_classes)


def count_parameters(module: nn.Module) -> int:
    """Count the learnable scalars; buffers are not among them."""
    return sum(parameter.numel() for parameter in module.parameters())


def initialise(module: nn.Module, seed: int) -> nn.Module:
    """Draw the weights of a module on the CPU anew from ``seed``; no global generator moves.

    Weights of modules without ``reset_parameters`` (attention, tokens, position embeddings) stay.
    """
    with seeded(seed):
        for child in module.modules():
            reset = getattr(child, "reset_parameters", None)
            if callable(reset):
                reset()
    return module
