"""Weights by content: every kind of file, wrapper and prefix, and what is said of it."""

import argparse
import collections
import datetime
import enum
import functools
import pathlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_weights, read_weights
from dfkd.networks import vgg
from dfkd.networks.fingerprint import fingerprint
from support.loading import SMALL, small

Save = Callable[[nn.Module, Path], object]


class Colour(enum.Enum):
    RED = 1


class Config:
    def __init__(self) -> None:
        self.content = {"lr": 0.1, "blocks": [1, 2]}


def state_of(network: nn.Module) -> dict[str, Any]:
    return dict(network.state_dict())


def arrays(network: nn.Module) -> dict[str, Any]:
    return {key: value.numpy() for key, value in state_of(network).items()}


def nested(network: nn.Module) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in state_of(network).items():
        *way, last = key.split(".")
        functools.reduce(lambda inner, word: inner.setdefault(word, {}), way, tree)[last] = value
    return {"params": tree}


def old(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def scripted(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.script(network), path)


FILES: dict[str, Save] = {
    "w.ckpt": lambda net, path: torch.save({"state_dict": state_of(net)}, path),
    "w.pth.tar": lambda net, path: torch.save(state_of(net), path),
    "W.PTH": lambda net, path: torch.save({"net": state_of(net)}, path),
    "no ending": lambda net, path: torch.save({"weights": state_of(net)}, path),
    "named.pth": lambda net, path: save_file(net.state_dict(), path),
    "w.npz": lambda net, path: np.savez(path, **arrays(net)),
    "packed.npz": lambda net, path: np.savez_compressed(path, **arrays(net)),
    "arrays.pkl": lambda net, path: path.write_bytes(pickle.dumps({"model": arrays(net)})),
    "old arrays.pkl": lambda net, path: path.write_bytes(pickle.dumps(arrays(net), protocol=2)),
    "new arrays.pkl": lambda net, path: path.write_bytes(pickle.dumps(arrays(net), protocol=5)),
    "tensors.pkl": lambda net, path: path.write_bytes(pickle.dumps(state_of(net))),
    "old.th": lambda net, path: old(state_of(net), path),
    "old with more.th": lambda net, path: old({"m": net.state_dict(), "a": Config()}, path),
    "module.pt": lambda net, path: torch.save(net, path),
    "old module.pt": lambda net, path: old({"model": net, "epoch": 3}, path),
    "parameters.pt": lambda net, path: torch.save(net.state_dict(keep_vars=True), path),
    "nested.pt": lambda net, path: torch.save(nested(net), path),
    "in a tuple.pt": lambda net, path: torch.save((state_of(net), {"lr": 0.1}), path),
    "scripted.pt": scripted,
    "scripted under another name.bin": scripted,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_files_are_read_by_content(name: str, tmp_path: Path) -> None:
    network = small()
    FILES[name](network, tmp_path / name)
    loaded = load_model(f"{SMALL}&weights={tmp_path / name}")
    assert fingerprint(loaded.network) == fingerprint(network)
    kept = read_weights(tmp_path / name)
    assert sum(value.numel() for value in kept.values()) >= sum(
        value.numel() for value in network.parameters()
    )


@pytest.mark.parametrize(
    "prefix",
    ["net.", "backbone.", "ema_model.module.", "0.", "module.net.", "net.module.", "classifier."],
)
def test_any_common_prefix_is_found(prefix: str, tmp_path: Path) -> None:
    network, others = small(), {"criterion.weight": torch.ones(3), "train_acc.count": torch.ones(1)}
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state | others}, tmp_path / "w.ckpt")
    loaded = load_model(f"{SMALL}&weights={tmp_path}/w.ckpt")
    assert fingerprint(loaded.network) == fingerprint(network)
    (line,) = loaded.notes
    assert "state_dict.criterion.weight, state_dict.train_acc.count" in line


def test_a_whole_checkpoint_is_read_and_what_was_skipped_is_named(tmp_path: Path) -> None:
    network = small()
    more = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("x"), cfg=Config()),
        "best": np.float64(0.9), "curve": np.ones(3), "at": datetime.datetime(2026, 1, 1),
        "colour": Colour.RED, "seen": collections.defaultdict(list), "part": slice(1, 2),
        "next": functools.partial(print, 1), "optimizer": torch.optim.Adam(network.parameters()),
    }  # fmt: skip
    torch.save({"state_dict": network.state_dict(), **more}, tmp_path / "w.ckpt")
    loaded = load_model(f"{SMALL}&weights={tmp_path}/w.ckpt")
    assert fingerprint(loaded.network) == fingerprint(network)
    (line,) = loaded.notes
    assert line.startswith("w.ckpt: only tensors were read: argparse.Namespace, ")
    assert "were not run" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("raw", "other"),
    [("state_dict", "state_dict_ema"), ("model", "ema"), ("model", "model_ema"), ("net", "swa")],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_several_copies_one_is_taken_and_said(
    raw: str, other: str, first: bool, tmp_path: Path
) -> None:
    plain, averaged = small(), small()
    both = {raw: plain.state_dict(), other: averaged.state_dict()}
    torch.save(both if first else dict(reversed(both.items())), tmp_path / "w.pth")
    uri = f"{SMALL}&weights={tmp_path}/w.pth"
    loaded = load_model(uri)
    assert fingerprint(loaded.network) == fingerprint(plain)
    assert loaded.notes == (
        f"w.pth: the weights of {raw} were taken, not those of {other}; `weights=FILE#{other}` "
        "takes the other",
    )
    chosen = load_model(f"{uri}#{other}")
    assert fingerprint(chosen.network) == fingerprint(averaged)
    assert chosen.notes == ()
    with pytest.raises(DfkdError, match="no part 'emma'"):
        load_model(f"{uri}#emma")


def test_copies_that_are_alike_need_no_word(tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save({"model": state, "ema": {k: v.clone() for k, v in state.items()}}, tmp_path / "w")
    assert load_model(f"{SMALL}&weights={tmp_path}/w").notes == ()


def test_a_mark_in_a_name_may_be_meant(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w#1.pth")
    for name in ("w#1.pth", "w%231.pth"):
        assert load_model(f"{SMALL}&weights={tmp_path}/{name}").notes == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_kept_as_the_networks_own(dtype: torch.dtype, tmp_path: Path) -> None:
    network = small()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state_of(network).items()}
    torch.save(state, tmp_path / "w.pth")
    loaded = load_model(f"{SMALL}&weights={tmp_path}/w.pth")
    assert loaded.notes == (f"w.pth: {str(dtype)[6:]} numbers are kept as float32",)
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype))


def test_a_larger_network_is_not_cut_to_fit(tmp_path: Path) -> None:
    class Chain(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            for index in range(count):
                self.add_module(f"layer{index}", nn.Linear(2, 2))

    torch.save(Chain(3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DfkdError, match=r"2 unexpected \(layer2.weight, layer2.bias\)"):
        load_weights(Chain(2), tmp_path / "w.pth", "a chain")
    torch.save(nn.Sequential(*[nn.Linear(2, 2)] * 3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DfkdError, match="2 unexpected"):
        load_weights(nn.Sequential(*[nn.Linear(2, 2)] * 2), tmp_path / "w.pth", "a chain")


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    network[2].weight = network[0].weight
    torch.save({"0.weight": torch.eye(2)}, tmp_path / "w.pth")
    assert load_weights(network, tmp_path / "w.pth", "a chain") == ()
    assert torch.equal(network[2].weight, torch.eye(2))


def test_a_students_head_may_be_of_other_classes(tmp_path: Path) -> None:
    body = vgg((4, 8), 1, 1, num_classes=12)
    torch.save(body.state_dict(), tmp_path / "w.pth")
    uri = f"dfkd.networks:vgg?widths=[4,8]&convolutions=1&in_channels=1&weights={tmp_path}/w.pth"
    loaded = load_model(uri, {"num_classes": 10})
    assert loaded.notes == (
        "w.pth: left out, since they are of other classes, and begin anew: head.weight, head.bias",
    )
    assert torch.equal(loaded.network.state_dict()["stages.0.0.weight"], body.stages[0][0].weight)
    with pytest.raises(DfkdError, match="2 misshapen"):
        load_model(uri)
    with pytest.raises(DfkdError, match="2 misshapen"):
        load_model(uri + "&num_classes=10", {"num_classes": 10})
