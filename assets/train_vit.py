"""Train the transformer teacher of RESULTS: timm's ViT on Fashion-MNIST, from random weights.

    python train_vit.py OUT.safetensors    # Debian's dataset-fashion-mnist; one core, half an hour

The network is timm's code, none of this project's: 4 x 4 pixels a patch, so 49 tokens and one for
the class, four pre-norm blocks of width 96, 0.3 M parameters. It is the last epoch of a fixed
schedule; nothing is selected on test images. Its MODEL is the line that is printed last.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from train_teachers import FASHION_CLASSES, augment, read_idx

from dfkd.loading import save_artefact
from dfkd.teacher.spec import ImageSpec

FACTORY = "vit_tiny_patch16_224"
KEYWORDS = {
    "img_size": 28, "patch_size": 4, "in_chans": 1, "num_classes": 10,
    "embed_dim": 96, "depth": 4, "num_heads": 3, "mlp_ratio": 2.0,
}  # fmt: skip
EPOCHS, BATCH, PEAK, DECAY, SHIFT = 9, 64, 6e-3, 0.05, 1


def read(source: Path, part: str, spec: ImageSpec) -> tuple[Tensor, Tensor]:
    """Normalised images, N x 1 x 28 x 28, and labels of ``train`` or ``t10k``."""
    images = read_idx(source / f"{part}-images-idx3-ubyte.gz").astype(np.float32) / 255
    labels = read_idx(source / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return spec.normalize(torch.from_numpy(images)[:, None]), torch.from_numpy(labels)


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Muon (AdamW outside the blocks) on a one-cycle schedule; moved and mirrored; in place."""
    network.train()
    named = list(network.named_parameters())
    hidden = [value for name, value in named if value.ndim == 2 and name.startswith("blocks")]
    others = [value for _, value in named if all(value is not one for one in hidden)]
    optimizers = (
        torch.optim.Muon(hidden, PEAK, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, PEAK, weight_decay=DECAY),
    )
    steps, start = len(images) // BATCH, time.perf_counter()
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            one, PEAK, total_steps=EPOCHS * steps, pct_start=0.1, cycle_momentum=False
        )
        for one in optimizers
    ]
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            logits = network(augment(images[index], SHIFT, flip=True))
            loss = F.cross_entropy(logits, labels[index])
            network.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for one in (*optimizers, *schedules):
                one.step()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}, {seconds:.0f} s", flush=True)
    network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose class the network names."""
    answers = torch.cat([network(part).argmax(1) for part in images.split(500)])
    return (answers == labels).float().mean().item()


def main(source: Path, out: Path) -> None:
    """Train, measure on the test images, write."""
    torch.manual_seed(0)
    spec = ImageSpec(1, 28, 28, (0.286,), (0.353,))
    network = timm.create_model(FACTORY, **KEYWORDS)
    train(network, *read(source, "train", spec))
    score = accuracy(network, *read(source, "t10k", spec))
    size = sum(parameter.numel() for parameter in network.parameters())
    print(f"{score:.2%} of 10,000 test images, {size:,} parameters")
    words = "&".join(f"{name}={value}" for name, value in KEYWORDS.items())
    print(f"timm:{FACTORY}?{words}&weights={out} --image 1x28x28 --mean 0.286 --std 0.353")
    save_artefact(out, network, f"timm:{FACTORY}", KEYWORDS, spec, FASHION_CLASSES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    words = parser.parse_args()
    main(words.fashion, words.out)
