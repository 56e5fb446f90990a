"""By the command line, a teacher from a file of its own, of a kind that nothing was tuned on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from dfkd.cli import main
from dfkd.comparison.variants import variants
from dfkd.loading import load_model

pytestmark = pytest.mark.slow

FILE = '''
import torch
from torch import nn


class Block(nn.Module):
    """An inverted residual with SiLU."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        wide = 4 * inner
        self.body = nn.Sequential(
            nn.Conv2d(inner, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide),
            nn.SiLU(), nn.Conv2d(wide, outer, 1, bias=False), nn.BatchNorm2d(outer),
        )
        self.same = stride == 1 and inner == outer

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU())
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 32, 1))
        self.end = nn.Sequential(nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        return self.classifier(self.end(self.blocks(self.stem(x))).mean((2, 3)))


build = Net
'''
STUDENT = "dfkd.networks:resnet?depth=8&widths=(8,16,32)"
FACTS = ("--image", "1x8x8", "--mean", "0.3", "--std", "0.37")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the teacher's file and weights, and images of both kinds."""
    folder = tmp_path_factory.mktemp("untuned")
    (folder / "mine.py").write_text(FILE)
    digits = load_digits()
    images = np.round(digits.images / 16 * 255).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order]
    np.savez(folder / "test.npz", images=images[1400:], labels=labels[1400:])
    np.savez(folder / "own.npz", images=images[1300:1400])
    torch.manual_seed(0)
    network = load_model(f"{folder}/mine.py:build").network.train()
    pixels = (torch.from_numpy(images[:1300])[:, None] / 255 - 0.3) / 0.37
    targets = torch.from_numpy(labels[:1300])
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(400):
        chosen = torch.randint(1300, (128,))
        optimizer.zero_grad()
        F.cross_entropy(network(pixels[chosen]), targets[chosen]).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 400)
    torch.save(network.state_dict(), folder / "mine.pth")
    return folder


ROWS = {
    "knowledge": list(variants("knowledge", None, None, [])),
    "scheme": list(variants("scheme", None, None, [], several=True)),
    "given images": ["offline", "adversarial:images"],
}


@pytest.mark.parametrize("what", ROWS)
def test_every_kind_and_scheme_runs_and_leaves_it_alone(place, what, tmp_path):
    teacher = f"{place}/mine.py:build?weights={place}/mine.pth"
    words = {
        "knowledge": ("--vary", "knowledge"),
        "scheme": ("--vary", "scheme", "--teachers", teacher),
        "given images": (
            *("--vary", "scheme", "--only", ",".join(ROWS["given images"])),
            *("--images", f"npz:{place}/own.npz"),
        ),
    }[what]
    command = [
        "compare", teacher, STUDENT, *FACTS, "--eval", f"npz:{place}/test.npz", *words,
        "--steps", "40", "--seeds", "0", "--init", "random", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(command) == 0
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert record["teacher_accuracy"] > 0.95
    refused = [row["refused"] for row in record["methods"] if row["seeds"] != [0]]
    assert not refused
    assert [row["method"] for row in record["methods"]] == ROWS[what]
    manifests = [json.loads(path.read_text()) for path in Path(tmp_path).rglob("manifest.json")]
    assert len(manifests) == len(ROWS[what])
    assert all(m["teacher_hash_before"] == m["teacher_hash_after"] for m in manifests)
