"""A MODEL URI -> its network, with its weights: what teachers and students have in common."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfkd.loading.archives import is_safetensors
from dfkd.loading.artefact import read_artefact
from dfkd.loading.loaded import LoadedModel, weights_file
from dfkd.loading.one_answer import ANSWER, take_answer
from dfkd.loading.sources import build
from dfkd.loading.torchvision_models import published_weights
from dfkd.loading.uri import parse_uri
from dfkd.loading.weights import load_weights


def load_model(
    uri: str, defaults: Mapping[str, Any] | None = None, trust: bool = False
) -> LoadedModel:
    """Load the network that ``uri`` names, with its weights where the URI gives any.

    Random weights come from torch's global generator: seed it before.

    Args:
        uri: a MODEL URI, see ``dfkd.loading.uri``.
        defaults: keywords for a factory that names them and that the URI leaves out.
        trust: run whatever the file of a ``run:DIR`` names as what builds its network, as
            ``run:DIR?trust=True`` does. Without it only architectures of dfkd, torchvision and timm
            are built.

    Raises:
        DfkdError: whatever is wrong with the URI, the factory or the weights.
    """
    parsed = parse_uri(uri)
    if ANSWER in parsed.keywords:
        keywords = dict(parsed.keywords)
        place = keywords.pop(ANSWER)
        whole = load_model(str(replace(parsed, keywords=keywords)), defaults, trust)
        return take_answer(whole, place)
    loaded = build(parsed, defaults or {}, trust)
    if parsed.weights is None or published_weights(parsed) is not None:
        return loaded
    path, part = weights_file(parsed)
    # Told by the teacher, not by the user: such a student may have a head of its own.
    classes = 0 if "num_classes" in parsed.keywords else (defaults or {}).get("num_classes", 0)
    notes = load_weights(loaded.network, path, parsed.base, part, classes)
    loaded = replace(loaded, notes=(*loaded.notes, *notes))
    artefact = read_artefact(path) if is_safetensors(path) else None
    if artefact is None:
        return loaded
    # Weights that dfkd wrote know their images better than the architecture's source does.
    return replace(
        loaded,
        spec=artefact.spec or loaded.spec,
        class_names=artefact.class_names or loaded.class_names,
        task=artefact.task or loaded.task,
    )
