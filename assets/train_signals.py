"""Train a bundled teacher of signals: nine speakers, told apart by spectrograms of a vowel.

    python train_signals.py DATA OUT    # DATA: the data directory of the aeon wheel, unpacked

Japanese Vowels gives every utterance as frames of 12 LPC cepstrum coefficients. Their
cosine series is the log-spectrum of a frame, so an utterance becomes a picture:
frequency from top (low) to bottom, time from left to right. Nothing in it has an outline.

All choices were made on held-out training utterances (``--hold-out`` takes a third of them
away and measures there); the test utterances have chosen nothing. One thread, float32
and a fixed seed: the same machine writes the same weights again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dfkd.loading import save_artefact
from dfkd.networks import count_parameters, vgg
from dfkd.teacher.spec import ImageSpec

NAME = "vowels_vgg"
HEIGHT, WIDTH = 16, 32
DARKEST, BRIGHTEST = -7.0, 6.0  # of the log-spectra; those of the training set span -7.1 to 5.4
EPOCHS, BATCH, LR = 60, 64, 0.05
SHIFT, NOISE = 2, 0.1  # frames; standard deviations of all pixels
Series = list[NDArray[np.float64]]
Labels = NDArray[np.int64]


def read_ts(path: Path) -> tuple[Series, Labels]:
    """Series (dimensions x frames) and classes from 0 of a .ts file.

    After ``@data`` a line is a case: dimensions between colons, values between commas,
    its class at the end.
    """
    _, _, body = path.read_text().partition("@data")
    series, labels = [], []
    for line in body.split():
        *dimensions, label = line.split(":")
        series.append(np.array([row.split(",") for row in dimensions], dtype=float))
        labels.append(int(label) - 1)
    return series, np.array(labels)


def stretched(cepstrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every coefficient at ``WIDTH`` evenly spaced times, linearly interpolated."""
    frames = cepstrum.shape[1]
    when = np.linspace(0, frames - 1, WIDTH)
    return np.stack([np.interp(when, np.arange(frames), row) for row in cepstrum])


def spectrogram(cepstrum: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Log-spectrum 2 sum c_n cos(n w) of every frame, stretched to ``WIDTH`` frames, as bytes."""
    order = np.arange(1, len(cepstrum) + 1)
    frequency = (np.arange(HEIGHT) + 0.5) * np.pi / HEIGHT
    spectrum = 2 * np.cos(np.outer(frequency, order)) @ stretched(cepstrum)
    share = (spectrum - DARKEST) / (BRIGHTEST - DARKEST)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def read_images(path: Path) -> tuple[NDArray[np.uint8], Labels]:
    series, labels = read_ts(path)
    return np.stack([spectrogram(cepstrum) for cepstrum in series]), labels


def augment(images: Tensor) -> Tensor:
    """Shifted in time (edges repeated) and a little noisy, each image by itself."""
    count, _, _, width = images.shape
    padded = F.pad(images, (SHIFT, SHIFT, 0, 0), mode="replicate")
    columns = torch.randint(2 * SHIFT + 1, (count, 1)) + torch.arange(width)
    shifted = padded.gather(3, columns[:, None, None].expand_as(images))
    return shifted + NOISE * torch.randn_like(shifted)


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """SGD with Nesterov momentum, one cycle; whole batches only."""
    steps = len(images) // BATCH
    optimizer = torch.optim.SGD(network.parameters(), LR, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=EPOCHS * steps)
    network.train()
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            loss = F.cross_entropy(network(augment(images[index])), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {loss.item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="holds JapaneseVowels/")
    parser.add_argument("out", type=Path, help=f"takes {NAME}.safetensors and {NAME}_test.npz")
    parser.add_argument("--hold-out", action="store_true", help="measure on training utterances")
    arguments = parser.parse_args()
    folder = arguments.data / "JapaneseVowels"
    images, labels = read_images(folder / "JapaneseVowels_TRAIN.ts")
    if arguments.hold_out:
        held = np.arange(len(labels)) % 3 == 0  # 30 utterances a speaker, one speaker after another
        unseen = images[held], labels[held]
        images, labels = images[~held], labels[~held]
    else:
        unseen = read_images(folder / "JapaneseVowels_TEST.ts")
    pixels = images / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    spec = ImageSpec(1, HEIGHT, WIDTH, (mean,), (std,))

    def ready(chosen: NDArray[np.uint8]) -> Tensor:
        return spec.normalize(torch.from_numpy(chosen).float()[:, None] / 255)

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    keywords = {"widths": [32, 64, 128], "in_channels": 1, "num_classes": 9}
    network = vgg(**keywords)
    train(network, ready(images), torch.from_numpy(labels))
    network.eval()
    with torch.no_grad():
        answers = network(ready(unseen[0])).argmax(1).numpy()
    score = float((answers == unseen[1]).mean())
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_artefact(
        arguments.out / f"{NAME}.safetensors",
        network,
        "dfkd.networks:vgg",
        keywords,
        spec,
        [f"speaker {number}" for number in range(1, 10)],
        origin="Japanese Vowels (UCI Machine Learning Repository, CC BY 4.0)",
        test_accuracy=round(score, 4),
    )
    np.savez_compressed(
        arguments.out / f"{NAME}_test.npz", images=unseen[0], labels=unseen[1].astype(np.int64)
    )
    where = "held-out training" if arguments.hold_out else "test"
    size = count_parameters(network)
    print(f"{NAME}: {score:.2%} on {len(unseen[1])} {where} utterances, {size:,} parameters")


if __name__ == "__main__":
    main()
