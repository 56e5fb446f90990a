"""Train two teachers of five digits each, to be merged into one student of all ten.

    python assets/train_halves.py --out runs/halves
    dfkd distill run:runs/halves/low 'dfkd.networks:vgg?widths=(16,32,64)&convolutions=1' \\
      --scheme ensemble --teachers run:runs/halves/high --set scheme_config.combine=classes \\
      --set learner.flip=0 --steps 3000 --init random --eval bundled:digits_vgg --out runs/merged

Both see their own digits among the 1,000 that ``bundled:digits_vgg`` was trained on
(scikit-learn's, CC BY 4.0): its test images are new to them. The last epoch counts; nothing is
selected.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from train_teachers import accuracy, digits_split, train

from dfkd.loading import save_artefact
from dfkd.networks import vgg
from dfkd.teacher.spec import ImageSpec

HALVES = {"low": range(5), "high": range(5, 10)}
EPOCHS = 120


def write_half(folder: Path, digits: range, seed: int, epochs: int) -> float:
    """Train a teacher of ``digits`` and write it to ``folder``; its accuracy on new ones."""
    (images, labels), (new, new_labels) = digits_split()
    own, tested = np.isin(labels, digits), np.isin(new_labels, digits)
    pixels = images[own] / np.float32(255)
    spec = ImageSpec(1, 8, 8, (round(float(pixels.mean()), 4),), (round(float(pixels.std()), 4),))

    def normalised(given: np.ndarray) -> torch.Tensor:
        return spec.normalize(torch.from_numpy(given)[:, None].float() / 255)

    keywords = {"widths": (32, 64, 128), "in_channels": 1, "num_classes": len(digits)}
    torch.manual_seed(seed)
    network = vgg((32, 64, 128), 2, 1, len(digits))
    targets = torch.from_numpy(labels[own] - digits[0])
    train(network, normalised(images[own]), targets, epochs=epochs, lr=0.05, pad=1, flip=False)
    score = accuracy(
        network, normalised(new[tested]), torch.from_numpy(new_labels[tested] - digits[0])
    )
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(digit) for digit in digits]
    path = folder / "student.safetensors"
    save_artefact(
        path, network, "dfkd.networks:vgg", keywords, spec, names, test_accuracy=round(score, 4)
    )
    return score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    for number, (name, digits) in enumerate(HALVES.items()):
        score = write_half(given.out / name, digits, 2 * given.seed + number, given.epochs)
        print(f"run:{given.out / name}  {score:.2%} of new digits {digits[0]} to {digits[-1]}")


if __name__ == "__main__":
    main()
