"""Write the test signals for students of the bundled teacher of signals: cepstra, not pictures.

    python write_series.py DATA OUT    # DATA: the data directory of the aeon wheel, unpacked

What ``train_signals.py`` turns into spectrograms, as it was before: 12 coefficients x 32 frames, in
bytes. Coefficients of speech fall with their number n; times the square root of n
("liftered") they share one scale, LOW to HIGH, which those of the training utterances fill.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from train_signals import Labels, read_ts, stretched

NAME = "vowels_series"
LOW, HIGH = -2.7, 2.7  # liftered coefficients of the training set span -2.62 to 2.19
LIFTER = 0.5


def series(cepstrum: NDArray[np.float64]) -> NDArray[np.uint8]:
    """12 coefficients x 32 frames, as bytes."""
    lifter = np.arange(1, len(cepstrum) + 1)[:, None] ** LIFTER
    share = (lifter * stretched(cepstrum) - LOW) / (HIGH - LOW)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def read_series(path: Path) -> tuple[NDArray[np.uint8], Labels]:
    cepstra, labels = read_ts(path)
    return np.stack([series(cepstrum) for cepstrum in cepstra]), labels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="holds JapaneseVowels/")
    parser.add_argument("out", type=Path, help=f"takes {NAME}_test.npz")
    parser.add_argument("--hold-out", action="store_true", help="training utterances: every third")
    arguments = parser.parse_args()
    folder = arguments.data / "JapaneseVowels"
    if arguments.hold_out:
        images, labels = (part[::3] for part in read_series(folder / "JapaneseVowels_TRAIN.ts"))
    else:
        images, labels = read_series(folder / "JapaneseVowels_TEST.ts")
    path = arguments.out / f"{NAME}_test.npz"
    np.savez_compressed(path, images=images, labels=labels.astype(np.int64))
    print(f"{path}: {len(labels)} utterances of {images.shape[1]} x {images.shape[2]}")


if __name__ == "__main__":
    main()
