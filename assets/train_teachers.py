"""Train the two bundled teachers of images from real data and write them with their test images.

    make bundle    # Fashion-MNIST: Debian's dataset-fashion-mnist; digits: scikit-learn

Both are the last epoch of a fixed schedule; nothing is selected on test images.
The seed is fixed, but thread counts and processors change float sums, so a new
run gives the same accuracy within a few tenths, not the same bits.
"""

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from dfkd.networks import count_parameters, resnet, vgg

HERE = Path(__file__).resolve().parent
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_idx(path: Path) -> NDArray[np.uint8]:
    """One array of a gzipped IDX file (LeCun's format): magic, dimensions, bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def augment(images: Tensor, pad: int, flip: bool) -> Tensor:
    """Random crop after padding and, where it keeps the meaning, a mirror image; per sample."""
    count, _, height, width = images.shape
    # Edges are repeated: zeros would be grey frames (images are normalised), which the
    # network would then remember among its statistics.
    padded = F.pad(images, (pad,) * 4, mode="replicate")
    rows = torch.randint(2 * pad + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(2 * pad + 1, (count, 1)) + torch.arange(width)
    if flip:
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    batch = torch.arange(count)[:, None, None]
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    logits = torch.cat([network(chunk) for chunk in images.split(1000)])
    return (logits.argmax(1) == labels).float().mean().item()


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    lr: float,
    pad: int,
    flip: bool,
) -> None:
    """SGD with Nesterov momentum, one cycle, bf16 autocast."""
    batch_size, steps = 128, len(images) // 128
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    start = time.perf_counter()
    for epoch in range(epochs):
        network.train()
        for index in torch.randperm(len(images))[: steps * batch_size].split(batch_size):
            batch = augment(images[index], pad, flip).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            loss = F.cross_entropy(logits.float(), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        print(
            f"epoch {epoch + 1:3d}  loss {loss.item():.3f}  {time.perf_counter() - start:6.1f} s",
            flush=True,
        )


def build(
    name: str,
    network: nn.Module,
    factory: str,
    keywords: dict[str, object],
    classes: Sequence[str],
    train_set: tuple[Images, Labels],
    test_set: tuple[Images, Labels],
    origin: str,
    **schedule: float | bool,
) -> None:
    """Train, measure on the held-out images, write ``NAME.safetensors`` and ``NAME_test.npz``."""
    pixels = train_set[0].astype(np.float32) / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    normalise = lambda images: (
        (torch.from_numpy(images.astype(np.float32) / 255)[:, None] - mean) / std
    )
    train(network, normalise(train_set[0]), torch.from_numpy(train_set[1]), **schedule)  # type: ignore[arg-type]
    score = accuracy(network, normalise(test_set[0]), torch.from_numpy(test_set[1]))
    height, width = train_set[0].shape[1:]
    facts = {
        "factory": factory,
        "keywords": keywords,
        "spec": {"channels": 1, "height": height, "width": width, "mean": [mean], "std": [std]},
        "class_names": list(classes),
        "origin": origin,
        "test_accuracy": round(score, 4),
    }
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, HERE / f"{name}.safetensors", metadata={"dfkd": json.dumps(facts)})
    np.savez_compressed(HERE / f"{name}_test.npz", images=test_set[0], labels=test_set[1])
    size = count_parameters(network)
    print(f"{name}: {score:.2%} on {len(test_set[1])} test images, {size:,} parameters")


def fashion(source: Path, epochs: int) -> None:
    train_set = (
        read_idx(source / "train-images-idx3-ubyte.gz"),
        read_idx(source / "train-labels-idx1-ubyte.gz"),
    )
    test_set = (
        read_idx(source / "t10k-images-idx3-ubyte.gz"),
        read_idx(source / "t10k-labels-idx1-ubyte.gz"),
    )
    keywords: dict[str, object] = {"depth": 20, "in_channels": 1, "num_classes": 10}
    build(
        "fashion_resnet20", resnet(20, 1, 10), "dfkd.networks:resnet", keywords, FASHION_CLASSES,
        (train_set[0], train_set[1].astype(np.int64)), (test_set[0], test_set[1].astype(np.int64)),
        "Fashion-MNIST (Zalando SE, MIT licence)", epochs=epochs, lr=0.1, pad=2, flip=True,
    )  # fmt: skip


def digits_split() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """1,000 digits to train on, and the 797 others: ``bundled:digits_vgg`` as data."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images / 16 * 255).astype(np.uint8)
    labels = data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    first, second = ((images[index], labels[index]) for index in (order[:1000], order[1000:]))
    return first, second


def digits(epochs: int) -> None:
    keywords: dict[str, object] = {"widths": [32, 64, 128], "in_channels": 1, "num_classes": 10}
    build(
        "digits_vgg", vgg((32, 64, 128), 2, 1, 10), "dfkd.networks:vgg", keywords, "0123456789",
        *digits_split(),
        "scikit-learn digits (UCI optical recognition of handwritten digits, CC BY 4.0)",
        epochs=epochs, lr=0.05, pad=1, flip=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--only", choices=("fashion", "digits"))
    arguments = parser.parse_args()
    for name in ("fashion", "digits"):
        if arguments.only in (None, name):
            torch.manual_seed(0)
            fashion(arguments.fashion, 12) if name == "fashion" else digits(60)


if __name__ == "__main__":
    main()
