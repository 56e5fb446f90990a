"""Pickles that would run something, and files that lie about their size: nothing happens."""

import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.loading import archives, load_model, read_weights
from dfkd.loading.inert import Inert, read_pickle
from dfkd.networks.fingerprint import fingerprint
from support.loading import SMALL, small


class Calls:
    """Pickled, it calls ``function``."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> Any:
        return self.function, self.given


class Restores:
    def __reduce__(self) -> Any:
        return Calls, (print,), {"x": Calls(os.system, "touch canary")}

    def __setstate__(self, state: Any) -> None:
        Path("canary").touch()


RUNS: dict[str, Callable[[], Any]] = {
    "system": lambda: Calls(os.system, "touch canary"),
    "eval": lambda: Calls(eval, "__import__('pathlib').Path('canary').touch()"),
    "exec": lambda: Calls(exec, "open('canary', 'w')"),
    "open": lambda: Calls(open, "canary", "w"),
    "nested": lambda: Calls(getattr, Calls(__import__, "os"), Calls(os.system, "touch canary")),
    "state": Restores,
    "torch.load": lambda: Calls(torch.load, "canary", None),
    "a method of a class": lambda: Calls(Path.touch, Path("canary")),
}


@pytest.mark.parametrize("route", RUNS)
@pytest.mark.parametrize("form", ["new", "old", "pickle"])
def test_nothing_in_a_checkpoint_is_run(
    route: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = small()
    content = {"extra": RUNS[route](), "state_dict": network.state_dict()}
    if form == "pickle":
        Path("w.pth").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, "w.pth", _use_new_zipfile_serialization=form == "new")
    loaded = load_model(f"{SMALL}&weights=w.pth")
    assert fingerprint(loaded.network) == fingerprint(network)
    assert "were not run" in loaded.notes[0]
    assert os.listdir() == ["w.pth"]


def reads(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data), lambda mark: None)[0]


BY_HAND = {
    "state for a function": b"ctorch._utils\n_rebuild_tensor\n}S'x'\nI1\nsb.",
    "state for a class": b"cos\nsystem\n}S'x'\nI1\nsb.",
    "slots of a function": b"ctorch._utils\n_rebuild_tensor\n(N}S'_run'\nI1\nstb.",
    "slots of a type of numbers": b"ctorch\nfloat32\n(N}S'itemsize'\nI1\nstb.",
    "a call of a text": b"S'x'\n(tR.",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_a_pickle_sets_on_our_own_objects_fails(name: str) -> None:
    with pytest.raises((pickle.UnpicklingError, TypeError, AttributeError)):
        reads(BY_HAND[name])


def test_stand_ins_keep_what_they_are_given() -> None:
    made = reads(b"cos\nsystem\n(S'touch canary'\ntR}S'a'\nI1\nsb.")
    assert isinstance(made, Inert)
    assert (made.origin, made.given, made.state) == ("os.system", ("touch canary",), {"a": 1})
    assert reads(b"(S'x'\nios\nsystem\n.").given == ("x",)
    assert reads(b"cos\nsystem\n(tR(S'x'\ntR.").given == ("x",)
    assert reads(b"\x80\x02cos\nsystem\n)\x81.").origin == "os.system"


def test_names_in_a_file_import_nothing() -> None:
    before = set(sys.modules)
    for name in ("antigravity\nfly", "torch\n_inductor", "torch.onnx\nexport", "this\nx"):
        reads(b"c" + name.encode() + b"\n.")
    assert not set(sys.modules) - before


def zipped(entries: dict[str, bytes], path: Path, packed: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, data in entries.items():
            archive.writestr(f"w/{name}", data)


def stored(size: str, stride: str = "I1\nt", offset: int = 0) -> bytes:
    """A tensor over four floats."""
    mark = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    shape = f"I{offset}\n({size}({stride}".encode()
    return b"}S'a'\nctorch._utils\n_rebuild_tensor\n(" + mark + shape + b"tRs."


HOSTILE: dict[str, Callable[[Path], object]] = {
    "memo of gigabytes": lambda path: path.write_bytes(b"Nr\xff\xff\xff\x7f."),
    "bytes of terabytes": lambda path: path.write_bytes(b"B\xff\xff\xff\x7fx."),
    "long bytearray": lambda path: path.write_bytes(b"\x96" + struct.pack("<Q", 2**40) + b"x."),
    "frame of terabytes": lambda path: path.write_bytes(b"\x80\x04\x95" + b"\xff" * 6 + b"\0\0N."),
    "no end": lambda path: path.write_bytes(b"\x80\x02}"),
    "marks alone": lambda path: path.write_bytes(b"(" * 100_000),
    "deep lists": lambda path: path.write_bytes(b"]" * 20_000 + b"a" * 19_999 + b"."),
    "lists of lists of lists": lambda path: path.write_bytes(
        b"]q\x00" + b"".join(b"](" + bytes([104, n]) * 9 + b"eq%c" % (n + 1) for n in range(20))
        + b"."
    ),
    "outside of its storage": lambda path: zipped(
        {"data.pkl": stored("I5\nt"), "data/0": b"\0" * 16}, path),
    "before its storage": lambda path: zipped(
        {"data.pkl": stored("I1\nt", offset=-3), "data/0": b"\0" * 16}, path),
    "negative size": lambda path: zipped(
        {"data.pkl": stored("I-5\nt"), "data/0": b"\0" * 16}, path),
    "no storage": lambda path: zipped({"data.pkl": stored("I4\nt")}, path),
    "a storage of another length": lambda path: zipped(
        {"data.pkl": stored("I4\nt"), "data/0": b"\0" * 7}, path),
    "packed": lambda path: zipped(
        {"data.pkl": stored("I4\nt"), "data/0": b"\0" * 10**7}, path, zipfile.ZIP_DEFLATED),
    "a zip of texts": lambda path: zipped({"readme.txt": b"hello"}, path),
    "exported, with a wrong description": lambda path: zipped(
        {"archive_format": b"", "data/weights/model_weights_config.json": b'{"config": {"a": 1}}'},
        path),
    "exported, with nothing": lambda path: zipped({"archive_format": b"pt2"}, path),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    HOSTILE[name](path)
    with pytest.raises(DfkdError, match=r"damaged, truncated|without any tensor") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200 + len(str(path))


def test_a_tensor_by_hand_is_read(tmp_path: Path) -> None:
    data = struct.pack("<4f", 1, 2, 3, 4)
    zipped({"data.pkl": stored("I2\nt", offset=1), "data/0": data}, tmp_path / "w")
    assert read_weights(tmp_path / "w")["a"].tolist() == [2, 3]
    zipped({"data.pkl": stored("I2\nI2\nt", "I2\nI1\nt"), "data/0": data}, tmp_path / "w")
    assert read_weights(tmp_path / "w")["a"].tolist() == [[1, 2], [3, 4]]


def test_arrays_of_objects_and_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DfkdError, match="holds no plain arrays"):
        read_weights(tmp_path / "o.npz")
    monkeypatch.setattr(archives, "LOOSE", 2**16)
    np.savez_compressed(tmp_path / "z.npz", a=np.zeros(10**6, np.float32))
    with pytest.raises(DfkdError, match="would unpack to"):
        read_weights(tmp_path / "z.npz")
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DfkdError, match="git lfs pull"):
        read_weights(tmp_path / "lfs.pth")
