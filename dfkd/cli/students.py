"""Students from MODEL URIs: as their source makes them, with the weights that they bring."""

import torch

from dfkd.loading import LoadedModel, load_student_model, parse_uri
from dfkd.loading.exits import without_exits
from dfkd.networks import initialise
from dfkd.teacher import Teacher
from dfkd.training.devices import resolve_device


def student_of(
    uri: str, teacher: Teacher, seed: int, init: str, device: str = "auto"
) -> tuple[LoadedModel, str]:
    """Load the student of a MODEL URI, without a run's exits, and tell where it starts.

    What brings no weights is drawn from ``seed`` by its own source, which knows best how. What
    brings some keeps them where ``init`` is ``auto``, and is drawn anew where it is ``random``.
    """
    torch.manual_seed(seed)
    place = resolve_device(device)
    loaded = without_exits(load_student_model(uri, teacher, device=place))
    if init not in ("auto", "random") or not _brings_weights(uri, loaded, teacher, seed, place):
        return loaded, init
    if init == "random":
        initialise(loaded.network, seed)
        return loaded, init
    return loaded, "given"


def _brings_weights(
    uri: str, loaded: LoadedModel, teacher: Teacher, seed: int, place: torch.device
) -> bool:
    """Whether most of a student's parameters do not depend on chance: somebody trained them.

    A factory that loads weights itself says nothing of it: a second student, drawn from another
    seed, does. Biases and norms start alike in any case and do not count.
    """
    parsed = parse_uri(uri)
    if parsed.weights is not None or parsed.kind in ("run", "bundled", "teacher", "hf", "onnx"):
        return True
    if parsed.kind == "torchvision":
        return False
    before = torch.get_rng_state()
    torch.manual_seed(seed + 1)
    again = without_exits(load_student_model(uri, teacher, device=place))
    other = dict(again.network.named_parameters())
    torch.set_rng_state(before)
    weights = {
        name: value
        for name, value in loaded.network.named_parameters()
        if value.ndim > 1 and not bool((value == value.flatten()[0]).all())
    }
    alike = [value.numel() for name, value in weights.items() if torch.equal(value, other[name])]
    return 2 * sum(alike) > sum(value.numel() for value in weights.values())
