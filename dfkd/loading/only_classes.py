"""Teachers of some of a model's classes: a smaller head where it can be cut, else a wrapper."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.loading.known import ONLY_FACTORY
from dfkd.loading.sources import rebuild
from dfkd.networks.cutting import cut_classes
from dfkd.networks.layers import classifier
from dfkd.tasks.answers import find_logits
from dfkd.tasks.classification import Classification
from dfkd.tasks.subset import choose_classes
from dfkd.teacher import Teacher
from dfkd.teacher.priors import Prior
from dfkd.teacher.spec import ImageSpec

_ALIKE = 1e-3
"""Of log-probabilities, between a cut network and the whole: what rounding explains."""


class OnlyClasses(nn.Module):
    """Asks the network inside, and hands on some of its numbers.

    It is for networks whose last layer cannot be cut (``cut_classes``). ``module`` is a wrapper's
    prefix, so that layers keep the names they are known by.

    Args:
        module: samples -> N x C.
        classes: which of the C, in this order.
        probabilities: they are logits where the C are probabilities: those of some sum to
            less than 1, and their logarithms say as much.
    """

    classes: Tensor

    def __init__(
        self, module: nn.Module, classes: Sequence[int], probabilities: bool = False
    ) -> None:
        super().__init__()
        self.module, self.probabilities = module, probabilities
        # A buffer: it goes where the module goes, and other classes are another teacher.
        self.register_buffer("classes", torch.tensor(list(classes)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return N x classes logits."""
        found = find_logits(self.module(inputs)).logits
        if self.probabilities:
            found = found.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return found[:, self.classes]


def with_only_classes(
    factory: str,
    keywords: Mapping[str, Any],
    classes: Sequence[int],
    layer: str | None = None,
    probabilities: bool = False,
    trust: bool = False,
) -> nn.Module:
    """Rebuild a network of some classes: the factory of such a ``run:DIR``.

    Args:
        factory: builds the network of all classes, a MODEL URI without its query.
        keywords: of that factory.
        classes: indices of those that it has.
        layer: its last linear layer, which is cut; None: its answers are.
        probabilities: see ``OnlyClasses``.
        trust: whether the user trusts who named ``factory``, see ``dfkd.loading.sources.rebuild``.
    """
    network = rebuild(factory, dict(keywords), ONLY_FACTORY, trust)
    if layer is None:
        return OnlyClasses(network, classes, probabilities)
    cut_classes(network, layer, classes)
    return network


def keep_classes(
    teacher: Teacher, asked: str | Sequence[int | str], prior: Prior | None = None
) -> Teacher:
    """Return the teacher of some of the classes; the one of all is used up.

    The rows of its last linear layer are cut out of the network, if that then answers of these
    classes as before, up to what all share: losses that read the classifier, students that start
    from it and ``teacher:SIDE`` need no word of it. Elsewhere a wrapper picks from its answers.

    Args:
        teacher: of all classes; its network is the loader's own, and changes.
        asked: see ``choose_classes``.
        prior: the user's own, if any; it reads layers that stay.

    Raises:
        DfkdError: see ``choose_classes``; a teacher without classes.
    """
    task = teacher.task
    if not isinstance(task, Classification) or task.outputs == 1:
        raise DfkdError("`only_classes` chooses among classes with an output each")
    subset = choose_classes(asked, task.names)
    network, layer = _smaller(teacher, subset.indices)
    found = Teacher(network, teacher.spec, subset.names, prior=prior)
    found.subset, found.source, found.notes = subset, teacher.source, teacher.notes
    if teacher.source is not None and teacher.source[0] is not None:
        factory, keywords = teacher.source
        inner: dict[str, Any] = {
            "factory": factory,
            "keywords": dict(keywords),
            "classes": list(subset.indices),
        }
        inner |= {"layer": layer, "probabilities": layer is None and task.probabilities}
        found.source = ONLY_FACTORY, inner
    return found


def _smaller(teacher: Teacher, indices: Sequence[int]) -> tuple[nn.Module, str | None]:
    """The network of some classes, and which layer was cut; None where it was wrapped."""
    spec, task = teacher.spec, teacher.task
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *spec.shape, generator=generator).to(teacher.device)
    with torch.no_grad():
        wanted = teacher(images)[:, list(indices)].float().log_softmax(1)
    network, layer, whole = teacher.restore(), None, None
    probabilities = isinstance(task, Classification) and task.probabilities
    try:
        layer = classifier(network, task.widths)
        whole = cut_classes(network, layer, indices)
        if _says(network, spec, images, wanted):
            return network, layer
    except DfkdError:
        pass
    if whole is not None and layer is not None:
        network.set_submodule(layer, whole)
    return OnlyClasses(network, indices, probabilities), None


@torch.no_grad()
def _says(network: nn.Module, spec: ImageSpec, images: Tensor, wanted: Tensor) -> bool:
    """Whether a network's log-probabilities of images are these; it comes out as it went in."""
    teacher = Teacher(network, spec)
    try:
        found = teacher(images).float().log_softmax(1)
    finally:
        teacher.restore()
    return found.shape == wanted.shape and torch.allclose(found, wanted, atol=_ALIKE, rtol=_ALIKE)
