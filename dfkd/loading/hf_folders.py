"""``hf:DIR``: a folder of Hugging Face's transformers, read from the disk alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading.artefact import check_shape
from dfkd.loading.finding import first_keys
from dfkd.loading.loaded import LoadedModel, lasting, no_keywords
from dfkd.loading.uri import ModelURI
from dfkd.loading.usercode import first_line
from dfkd.teacher.spec import ImageSpec

LONGEST_CONFIG = 20_000_000
"""Bytes of a configuration; the names of twenty thousand classes take two million."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
           "pytorch_model.bin.index.json")  # fmt: skip


def from_hf(uri: ModelURI) -> LoadedModel:
    """Load an image classifier with its class names and its processor's images.

    Only architectures of transformers itself are built: code that the folder brings is not run,
    and nothing is fetched.

    Raises:
        DfkdError: no such folder or model, weights that do not fill it, or no transformers.
    """
    no_keywords(uri, uri.keywords)
    folder = Path(uri.name).expanduser()
    config = _described(folder, "config.json")
    if config is None:
        raise DfkdError(f"{uri.base} is no folder with a config.json, as save_pretrained writes")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise DfkdError(f"{uri.base} holds no weights: none of {', '.join(WEIGHTS)}")
    network = _network(folder, uri.base)
    names = _class_names(config)
    spec, normalised = _spec(config, _described(folder, "preprocessor_config.json"), uri.base)
    return LoadedModel(network, spec, names, lasting(uri), {}, (), normalised)


def _described(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / name
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > LONGEST_CONFIG:
            raise ValueError("it is too long")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise DfkdError(f"{path} cannot be read ({first_line(error)[:120]})") from None
    return found


def _network(folder: Path, base: str) -> nn.Module:
    try:
        from transformers import AutoModelForImageClassification
        from transformers.utils import logging
    except ImportError:
        raise DfkdError("transformers is not installed; pip install 'dfkd[hf]'") from None
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, found = AutoModelForImageClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True,
            weights_only=True, torch_dtype="float32",
        )  # fmt: skip
    except Exception as error:  # whatever a foreign configuration leads to
        raise DfkdError(f"{base} is no image classifier ({first_line(error)})") from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    lacking = [str(key) for part in ("missing_keys", "mismatched_keys") for key in found[part]]
    if lacking:
        raise DfkdError(
            f"{base} has no weights for {len(lacking)} of its tensors ({first_keys(lacking)}), "
            "which would be drawn by chance: save the whole classifier there"
        )
    network.register_forward_hook(_logits)
    made: nn.Module = network
    return made


def _logits(network: nn.Module, given: Any, answer: Any) -> Any:
    """Take the logits out of what transformers puts around them."""
    return getattr(answer, "logits", answer)


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names in the order of their outputs; None where they are the placeholders."""
    table = config.get("id2label")
    if not isinstance(table, dict):
        return None
    names = [table.get(str(index)) for index in range(len(table))]
    if not all(isinstance(name, str) for name in names) or names == [
        f"LABEL_{index}" for index in range(len(names))
    ]:
        return None
    return tuple(str(name) for name in names)


def _spec(
    config: Mapping[str, Any], images: Mapping[str, Any] | None, base: str
) -> tuple[ImageSpec | None, bool]:
    """Size and normalisation, and whether the folder says by what."""
    processor = images or {}
    size = _size(processor) or _side(config.get("image_size"))
    if size is None:
        return None, images is not None
    mean, std = processor.get("image_mean"), processor.get("image_std")
    channels = config.get("num_channels") or (len(mean) if isinstance(mean, list) else 3)
    try:
        shape = check_shape((channels, *size))
        if images is None or processor.get("do_normalize", True) is False or mean is None:
            mean, std = [0.0] * channels, [1.0] * channels
        return _scaled(shape, processor, mean, std), images is not None
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = first_line(error)[:120]
        raise DfkdError(f"the images that {base} describes are none ({reason})") from None


def _scaled(
    shape: tuple[int, int, int], processor: Mapping[str, Any], mean: Any, std: Any
) -> ImageSpec:
    """Mean and std of images in [0, 1]: a processor's are of 255 times its own factor of them."""
    channels = shape[0]
    mean, std = (values if isinstance(values, Sequence) else [values] for values in (mean, std))
    mean, std = (list(v) * channels if len(v) == 1 else list(v) for v in (mean, std))
    scale = 1.0
    if processor.get("do_rescale", True) is not False:
        scale = 255 * float(processor.get("rescale_factor", 1 / 255))
    else:
        scale = 255.0
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    return ImageSpec(
        *shape,
        tuple(round((float(m) + offset) / scale, 9) for m in mean),
        tuple(round(float(s) / scale, 9) for s in std),
        _kept(processor),
    )


def _kept(processor: Mapping[str, Any]) -> float:
    """The share of a picture's shorter side that its centre crop keeps."""
    crop = processor.get("do_center_crop") and _side(processor.get("crop_size"))
    resized = _side(processor.get("size"))
    return min(1.0, min(crop) / min(resized)) if crop and resized and min(resized) > 0 else 1.0


def _size(processor: Mapping[str, Any]) -> tuple[int, int] | None:
    crops = processor.get("do_center_crop") and _side(processor.get("crop_size"))
    return crops or _side(processor.get("size"))


def _side(size: Any) -> tuple[int, int] | None:
    """Height and width from a number, a pair or a dict of them."""
    if isinstance(size, dict):
        side = size.get("shortest_edge")
        size = (size.get("height", side), size.get("width", side))
    if isinstance(size, int):
        size = (size, size)
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return None
    return (size[0], size[1]) if all(type(one) is int and one > 0 for one in size) else None
