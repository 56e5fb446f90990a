"""Other people's networks, one row each."""

import threading

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 8, 8, (0.4,), (0.3,))


class Net(nn.Module):
    """A convolution, a norm and a classifier of what they see."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def maps(self, x):
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


class View(Net):
    """What most tutorials write."""

    def __init__(self):
        super().__init__()
        self.end, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4 * 4, 4)

    def forward(self, x):
        x = F.relu(self.end(F.max_pool2d(self.maps(x), 2)))
        return self.head(x.view(x.size(0), -1))


class ViewInTraining(Net):
    """DropBlock and its like look at the maps in training mode alone."""

    def forward(self, x):
        x = self.maps(x)
        if self.training:
            x = x * (x.view(len(x), -1).mean(1) > -1).float()[:, None, None, None]
        return self.head(x.mean((2, 3)))


class Volume(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8)

    def forward(self, x):
        return self.head(self.maps(x[:, None]).mean((2, 3, 4)))


class Rank5(Net):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1, 1, 1, 1))

    def forward(self, x):
        return super().forward(x) * self.scale.flatten()


class Uncopyable(Net):
    def __init__(self):
        super().__init__()
        self.lock, self.items = threading.Lock(), (number for number in range(3))
        self.kept = {"handle": open(__file__), "deep": [threading.Lock()]}  # noqa: SIM115
        self.random = torch.Generator()


class RefersToItself(Net):
    """What helps it knows it; what cannot be copied comes after."""

    class Helper:
        def __init__(self, network):
            self.network = network

    def __init__(self):
        super().__init__()
        self.helper = self.Helper(self)
        self.lock = threading.Lock()

    def forward(self, x):
        return self.head(self.helper.network.maps(x).mean((2, 3)))


class KeepsItsMaps(Net):
    """What its last pass went through stays, with its graph."""

    def maps(self, x):
        self.last = super().maps(x)
        self.all = {"maps": [self.last]}
        return self.last


class Silent(Net):
    """None of its methods that torch's own return the network from returns anything."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.training = False

    def eval(self):
        super().train(False)

    def to(self, *arguments, **keywords):
        super().to(*arguments, **keywords)

    def requires_grad_(self, requires_grad=True):
        super().requires_grad_(requires_grad)

    def cpu(self):
        super().cpu()


class Sized(Net):
    """Empty to whoever asks for its truth."""

    def __len__(self):
        return 0


class Always(Net):
    """Knows one mode."""

    def train(self, mode=True):
        return super().train(True)


class AtTestTime(Net):
    """Adapts its norms to each batch."""

    def forward(self, x):
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        return super().forward(x)


class Flagged(Net):
    """The same without asking ``train``, and without a trace of it afterwards."""

    def forward(self, x):
        self.norm.training = True
        logits = super().forward(x)
        self.norm.training = False
        return logits


class AtMost64(Net):
    def forward(self, x):
        if len(x) > 64:
            raise RuntimeError("at most 64 at once, please")
        return super().forward(x)


def with_weights(change):
    def build():
        network = Net()
        change(network.conv)
        return network

    return build


NETWORKS = {
    "plain": Net,
    "view": View,
    "view in training": ViewInTraining,
    "conv3d": Volume,
    "rank 5": Rank5,
    "old weight_norm": with_weights(weight_norm),
    "old spectral_norm": with_weights(spectral_norm),
    "pruned": with_weights(lambda conv: prune.l1_unstructured(conv, "weight", 0.5)),
    "new weight_norm": with_weights(parametrizations.weight_norm),
    "new spectral_norm": with_weights(parametrizations.spectral_norm),
    "orthogonal": with_weights(parametrizations.orthogonal),
    "uncopyable": Uncopyable,
    "refers to itself": RefersToItself,
    "keeps its maps": KeepsItsMaps,
    "returns nothing": Silent,
    "no length": Sized,
    "always training": Always,
    "test-time norms": AtTestTime,
    "flagged norms": Flagged,
    "at most 64": AtMost64,
}


HELD = ("always training", "test-time norms", "flagged norms")


def seasoned(name):
    """Such a network whose norms have seen images, as its user has it: in training mode."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(16, 1, 8, 8))
    network(torch.rand(16, 1, 8, 8))  # what computes its weights now has some that are no leaves
    return network


class Encoder(nn.Module):
    """A transformer of torch's own layers, without a class token: an average of 16 patches.

    Args:
        batch_first: whether images come before tokens inside.
        norm_first: norms before attention, or behind it.
        flat: the classifier reads every token at its place.
    """

    stride = 4
    kernel = 4

    def __init__(self, batch_first=True, norm_first=True, flat=False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.batch_first, self.flat = batch_first, flat
        self.patches = nn.Conv2d(1, 16, self.kernel, self.stride, (self.kernel - self.stride) // 2)
        self.positions = nn.Parameter(torch.randn(1, 16, 16))
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16 * (16 if flat else 1), 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        if self.batch_first:
            tokens = self.encoder(tokens)
        else:
            tokens = self.encoder(tokens.transpose(0, 1)).transpose(0, 1)
        return self.head(tokens.flatten(1) if self.flat else tokens.mean(1))


class Overlapping(Encoder):
    """Its patches of six pixels overlap by two."""

    kernel = 6


class HiddenStates(nn.Module):
    """A transformer in the manner of Hugging Face's: tuples are handed on, some by keyword."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16))
        self.layers = nn.ModuleList(_SelfAttention() for _ in range(2))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.positions
        for layer in self.layers:
            (tokens,) = layer(hidden_states=tokens, head_mask=None)
        return (self.head(tokens[:, 0]),)


class _SelfAttention(nn.Module):
    """A block of attention, written out, with its own way of naming things."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)

    def forward(self, hidden_states, head_mask):
        x = self.norm(hidden_states)
        weights = torch.einsum("nid,njd->nij", self.query(x), self.key(x)).softmax(-1)
        return (hidden_states + weights @ self.value(x),)
