"""Networks, factories and damaged files that the tests of loading share."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfkd.networks import resnet, vgg
from dfkd.teacher.spec import ImageSpec

SMALL = "dfkd.networks:vgg?widths=[4,8]&convolutions=1&in_channels=1"
SPEC = ImageSpec(1, 8, 8, (0.3,), (0.4,))
FACTORY = """
from torch import nn
import sibling

class Net(nn.Sequential):
    pass

def make(num_classes=3, in_channels=1, scale: float = 1.0):
    return Net(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4 * 36, num_classes))

def broken(**keywords):
    raise RuntimeError("out of cheese\\nand more")

def number():
    return 3

def one_vector():
    return nn.Sequential(nn.Conv2d(1, 4, 3))

ready = Net()
"""


def small() -> nn.Module:
    return vgg((4, 8), 1, 1)


def write_factories(folder: Path) -> Path:
    (folder / "own.py").write_text(FACTORY)
    (folder / "sibling.py").write_text("value = 1\n")
    (folder / "wrong.py").write_text("raise ValueError('no such luck')\n")
    (folder / "syntax.py").write_text("def make(:\n")
    return folder


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


def truncate(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def write_bad(kind: str, path: Path) -> None:
    state = small().state_dict()
    if kind == "truncated":
        torch.save(state, path)
        truncate(path, 0.6)
    elif kind == "legacy_truncated":
        torch.save(state, path, _use_new_zipfile_serialization=False)
        truncate(path, 0.6)
    elif kind == "empty_file":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "code":
        torch.save({**state, "harm": Harm()}, path)
    elif kind == "plain_pickle":
        path.write_bytes(pickle.dumps(Harm()))
    elif kind == "module":
        torch.save(small(), path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "numbers":
        torch.save({"epoch": 3, "lr": 0.1}, path)
    elif kind == "mixed":
        torch.save({**state, "epoch": 3}, path)
    elif kind == "empty":
        torch.save({}, path)
    elif kind == "nan":
        torch.save({**state, "head.bias": torch.full((10,), torch.nan)}, path)
    elif kind == "infinite":
        torch.save({**state, "head.bias": torch.full((10,), -torch.inf)}, path)
    elif kind == "other_architecture":
        torch.save(resnet(8, 1, 10).state_dict(), path)
    elif kind == "other_shape":
        torch.save(vgg((4, 8), 1, 1, num_classes=12).state_dict(), path)
