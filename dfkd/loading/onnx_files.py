"""``onnx:FILE``: an exported network, converted to torch's modules by onnx2torch.

Nothing in the file is code: its operators become modules of a fixed list. Norms that the export
kept are batch-norms again, with what they remember.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.loading.artefact import check_shape
from dfkd.loading.loaded import LoadedModel, lasting, no_keywords
from dfkd.loading.opaque import Opaque
from dfkd.loading.uri import ModelURI
from dfkd.loading.usercode import first_line
from dfkd.networks.layers import named_layers
from dfkd.teacher.spec import ImageSpec

_ALIKE = 1e-3
"""Share of the largest answer by which two ways to it may differ."""


def from_onnx(uri: ModelURI) -> LoadedModel:
    """Load an ONNX file as a network; its images' size is that of its input, where it is fixed.

    Raises:
        DfkdError: no such file, no ONNX, an operator that onnx2torch lacks, or other inputs
            than one batch of images.
    """
    no_keywords(uri, uri.keywords)
    path = Path(uri.name).expanduser()
    if uri.weights is not None:
        raise DfkdError(f"{uri.base} has its weights inside: leave out weights=")
    if not path.is_file():
        raise DfkdError(f"no file {str(path)!r}")
    model = _read(path)
    _tidy(model.graph)
    batch, shape = _input(model.graph, path)
    network, line = _with_batch(model, batch, shape, path)
    spec = ImageSpec(*check_shape(shape)) if all(shape) else None
    return LoadedModel(network, spec, None, lasting(uri), {}, (line,) if line else (), False)


def _read(path: Path) -> Any:
    try:
        import onnx
        import onnx2torch  # noqa: F401
    except ImportError:
        raise DfkdError("onnx and onnx2torch are not installed; pip install 'dfkd[onnx]'") from None
    try:
        return onnx.load(str(path))
    except Exception as error:  # no protobuf, numbers of other files that are not there
        raise DfkdError(f"{path} is no whole ONNX file ({first_line(error)[:120]})") from None


def _tidy(graph: Any) -> None:
    """Move constants to where weights are, and list as inputs what is none of them."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constant = graph.initializer.add()
            constant.CopyFrom(value)
            constant.name = node.output[0]
        else:
            kept.append(copy.deepcopy(node))
    known = {one.name for one in graph.initializer}
    inputs = [copy.deepcopy(one) for one in graph.input if one.name not in known]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)


def _input(graph: Any, path: Path) -> tuple[int, tuple[int, ...]]:
    """The batch and channels, height and width that it takes; 0 where they are not fixed."""
    if len(graph.input) != 1:
        names = ", ".join(one.name[:20] for one in graph.input[:4])
        raise DfkdError(f"{path} takes {len(graph.input)} inputs ({names}); dfkd gives it one")
    kind = graph.input[0].type.tensor_type
    dims = [max(0, one.dim_value) for one in kind.shape.dim]
    if kind.elem_type != 1 or len(dims) != 4:
        shown = "x".join(str(dim or "?") for dim in dims)
        raise DfkdError(
            f"{path} takes {shown} inputs of ONNX's type {kind.elem_type}; dfkd shows a network "
            "images N x C x H x W of float32 (type 1): export it so"
        )
    if dims[3] in (1, 3, 4) and dims[1] > 4:
        raise DfkdError(
            f"{path} takes images of {dims[1]}x{dims[2]}x{dims[3]}, channels last; export it with "
            "channels first"
        )
    return dims[0], tuple(dims[1:])


def _with_batch(
    model: Any, batch: int, shape: tuple[int, ...], path: Path
) -> tuple[nn.Module, str]:
    """The network and a line where it takes no other batch than that of its export."""
    network = _converted(model, path)
    if batch == 0 or not all(shape):
        return network, ""
    images = torch.rand(batch + 1, *shape, generator=torch.Generator().manual_seed(0))
    expected = _asked(Opaque(network, batch), images)
    if expected is None:  # whoever asks it first will say why
        return network, ""
    if _near(_asked(network, images), expected):
        return network, ""
    freer = copy.deepcopy(model)
    if batch == 1 and _free(freer.graph):
        other = _converted(freer, path)
        if _near(_asked(other, images), expected):
            return other, ""
    said = "its layers are therefore not looked into" * bool(_remembers(network))
    line = f"{path.name} was exported for {batch} images at once, and is shown them so"
    return Opaque(network, batch), line + f"; {said}" * bool(said)


def _converted(model: Any, path: Path) -> nn.Module:
    from onnx2torch import convert

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = convert(copy.deepcopy(model))
    except Exception as error:  # operators and forms of them that it lacks
        raise DfkdError(
            f"{path} cannot be converted by onnx2torch ({first_line(error)[:150]})"
        ) from None
    return network.eval()


def _free(graph: Any) -> bool:
    """Let the first dimension of every ``Reshape`` be that of the batch, where it is a fixed 1."""
    from onnx import numpy_helper

    values = {one.name: one for one in graph.initializer}
    changed = False
    for index, node in enumerate(graph.node):
        shape = values.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None:
            continue
        sizes = np.array(numpy_helper.to_array(shape))
        if sizes.ndim != 1 or not len(sizes) or sizes[0] != 1:
            continue
        sizes[0] = 0 if -1 in sizes[1:] else -1  # 0: as it comes in
        graph.initializer.add().CopyFrom(numpy_helper.from_array(sizes, f"dfkd_shape_{index}"))
        node.input[1], changed = f"dfkd_shape_{index}", True
    return changed


@torch.no_grad()
def _asked(network: nn.Module, images: Tensor) -> Tensor | None:
    try:
        answer: Any = network(images)
    except Exception:  # it takes another number of images
        return None
    while isinstance(answer, (list, tuple)) and answer:
        answer = answer[0]
    return answer if isinstance(answer, Tensor) and len(answer) == len(images) else None


def _near(found: Tensor | None, expected: Tensor) -> bool:
    if found is None or found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= _ALIKE * expected.abs().max())


def _remembers(network: nn.Module) -> bool:
    return any(hasattr(module, "running_mean") for module in named_layers(network).values())
