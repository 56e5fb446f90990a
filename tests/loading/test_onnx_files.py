"""ONNX files, written here operator by operator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading import load_teacher
from dfkd.loading.opaque import Opaque

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )
    made[1].running_mean.uniform_()
    made[1].running_var.uniform_(0.5, 2)
    return made.eval()


def write(
    network: nn.Module, path: Path, batch: Any = "N", shape: Any = (1, 8, 8), **changed: Any
) -> None:
    """The network in ONNX; ``flat`` is the constant shape before its classifier."""
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    state = {key: value.numpy() for key, value in network.state_dict().items() if value.ndim}
    flat = np.array(changed.get("flat", [-1, 144]), np.int64)
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "0.weight", "0.bias"], ["a"]),
        node("BatchNormalization", ["a", *(f"1.{n}" for n in NORM)], ["b"], epsilon=1e-5),
        node(changed.get("activation", "Relu"), ["b"], ["c"]),
        node("Constant", [], ["flat"], value=array(flat)),
        node("Reshape", ["c", "flat"], ["d"]),
        node("Gemm", ["d", "4.weight", "4.bias"], ["e"], transB=1),
        node("Softmax", ["e"], ["y"], axis=1),
    ]
    kind = changed.get("kind", onnx.TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info("x", kind, [batch, *shape])]
    inputs += [helper.make_tensor_value_info("z", 1, [1])] * changed.get("more", 0)
    outputs = [helper.make_tensor_value_info("y", 1, [batch, 3])]
    weights = [array(value, key) for key, value in state.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), str(path))


NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(
    ("batch", "flat", "way"),
    [
        ("N", [-1, 144], "as it is"),
        (1, [-1, 144], "as it is"),
        (1, [1, -1], "freed"),
        (1, [1, 144], "freed"),
        (2, [2, 144], "in pairs"),
    ],
)
def test_any_batch_is_answered(
    batch: Any, flat: list[int], way: str, network: nn.Module, tmp_path: Path
) -> None:
    write(network, tmp_path / "w.onnx", batch, flat=flat)
    teacher = load_teacher(f"onnx:{tmp_path}/w.onnx")
    assert teacher.spec.shape == (1, 8, 8)
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        expected = network(images).log_softmax(1)
    torch.testing.assert_close(teacher(images), expected, atol=1e-5, rtol=1e-4)
    assert teacher.differentiable
    assert "does not say by what its images are normalised" in teacher.notes[-1]
    if way == "in pairs":
        assert isinstance(teacher.network, Opaque)
        assert "exported for 2 images at once" in teacher.notes[0]
        return
    assert len(teacher.layers) == 1
    record = teacher.trace(images, statistics=True).statistics[0]
    torch.testing.assert_close(record.running_mean, network[1].running_mean)


def test_sizes_that_are_free_are_asked_for(network: nn.Module, tmp_path: Path) -> None:
    write(network, tmp_path / "w.onnx", shape=(1, "h", "w"))
    with pytest.raises(DfkdError, match="does not say what images it takes"):
        load_teacher(f"onnx:{tmp_path}/w.onnx")
    assert load_teacher(f"onnx:{tmp_path}/w.onnx", image="1x8x8", mean=[0.5]).notes == ()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"more": 1}, "takes 2 inputs"),
        ({"kind": 2}, "of ONNX's type 2"),
        ({"shape": (8, 8)}, "takes [?]x8x8 inputs"),
        ({"shape": (8, 8, 3)}, "channels last"),
        ({"activation": "Mish"}, "cannot be converted by onnx2torch"),
    ],
)
def test_what_cannot_be_a_teacher_is_one_line(
    changed: dict[str, Any], reason: str, network: nn.Module, tmp_path: Path
) -> None:
    write(network, tmp_path / "w.onnx", **changed)
    with pytest.raises(DfkdError, match=reason) as caught:
        load_teacher(f"onnx:{tmp_path}/w.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x08\x07" * 30, b"PK\x03\x04"])
def test_other_files_are_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(data)
    with pytest.raises(DfkdError) as caught:
        load_teacher(f"onnx:{tmp_path}/w.onnx")
    assert "\n" not in str(caught.value)
