"""Which layers of two networks losses compare, and what a pass leaves of them."""

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.foreign import TRIAL
from dfkd.networks.layers import classifier, last_map, named_layers, unwrap
from dfkd.networks.pairing import (
    LayerPairs,
    check_averaged,
    checked_pairs,
    embedding_layer,
    pair_layers,
)
from dfkd.tasks import Prediction
from dfkd.tasks.classification import both_rows
from dfkd.teacher.margins import norm_margins
from dfkd.teacher.outputs import Outputs
from dfkd.teacher.teacher import Teacher

SIDES = ("student", "teacher")


class ComparedLayers:
    """The layers that losses look at, found once; a side is 0 for the student, 1 for the teacher.

    Args:
        teacher: frozen.
        parts: of each side, the fields of ``Outputs`` that losses take.
        student: None where none is compared.
        pairs: (student's layer, teacher's layer), in any order; found by size when left out.
        vectors: whether every loss of features takes vectors as well as maps.

    Attributes:
        pairs: of the features, large maps before small ones.
        embeddings: by side, the layer whose output the classifier reads; None where none is needed.

    Raises:
        DfkdError: the networks have no feature maps of one size, no linear classifier of an
            averaged map, or ``pairs`` name layers that nothing compares.
    """

    def __init__(
        self,
        teacher: Teacher,
        parts: Sequence[Collection[str]],
        student: nn.Module | None,
        pairs: LayerPairs,
        vectors: bool,
    ) -> None:
        networks = (student, unwrap(teacher.network))
        example = teacher.spec.normalize(teacher.spec.example(TRIAL, teacher.device))
        self.pairs: LayerPairs = ()
        if "features" in parts[0]:
            both = needed(student), networks[1]
            widths = teacher.task.widths if vectors else None
            found = pairs or pair_layers(*both, example, widths)
            self.pairs = checked_pairs(found, *both, example, vectors)
        elif pairs:
            raise DfkdError(
                "`pairs` names layers to compare, and the knowledge compares none: add one that "
                "does, such as hint or at (see dfkd knowledge)"
            )
        self._margins: tuple[Tensor | None, ...] = ()
        if "margins" in parts[1]:
            self._margins = norm_margins(networks[1], [pair[1] for pair in self.pairs])
        # Names of layers and the classifiers' modules.
        self._heads: list[Any] = [None, None]
        self._last: list[str | None] = [None, None]
        self.embeddings: list[str | None] = [None, None]
        for side, network in enumerate(networks):
            if {"head", "last_map"} & set(parts[side]):
                one = needed(network)
                _check_single_row(teacher)
                head, last = classifier(one, teacher.task.widths), last_map(one, example)
                check_averaged(one, head, last, example, SIDES[side])
                self._heads[side], self._last[side] = named_layers(one)[head], last
            if "embedding" in parts[side]:
                layer = embedding_layer(needed(network), teacher.task.widths, example)
                self.embeddings[side] = layer

    def names(self, side: int) -> list[str]:
        """List the layers of the student (0) or of the teacher (1), none of them twice."""
        names = [pair[side] for pair in self.pairs]
        names += filter(None, (self._last[side], self.embeddings[side]))
        return list(dict.fromkeys(names))

    @property
    def ends(self) -> LayerPairs:
        """(student's layer, teacher's layer) of all that is compared, each pair once.

        Those of the features come first, large maps before small ones.
        """
        ends = [(s[0], s[1]) for s in (self._last, self.embeddings) if s[0] and s[1]]
        return tuple(dict.fromkeys([*self.pairs, *ends]))

    def outputs(
        self,
        side: int,
        prediction: Prediction,
        values: dict[str, Tensor],
        features: list[Tensor],
        gradients: tuple[Tensor, ...],
    ) -> Outputs:
        """Sort what one network gave into ``Outputs``; the teacher's are part of no graph.

        Args:
            side: 0 for the student, 1 for the teacher.
            prediction: its answer.
            values: the outputs of its layers, by name.
            features: those of ``pairs``, in their order.
            gradients: of its decisions' logits by ``features``.
        """
        if side == 1:
            prediction = prediction.detached()
            features = [value.detach() for value in features]
            values = {name: value.detach() for name, value in values.items()}
        last, end, head = self._last[side], self.embeddings[side], self._heads[side]
        return Outputs(
            prediction,
            features=tuple(value.float() for value in features),
            margins=self._margins if side else (),
            gradients=tuple(value.float() for value in gradients),
            last_map=values[last].float() if last else None,
            head=both_rows(head.weight) if head is not None else None,
            embedding=as_embedding(values[end]) if end else None,
        )


def needed(network: nn.Module | None) -> nn.Module:
    """Return the network; raise a ``DfkdError`` where there is no student to compare."""
    if network is None:
        raise DfkdError("a loss of the student's layers needs the student beforehand")
    return network


def _check_single_row(teacher: Teacher) -> None:
    """Raise where several rows of an answer share one classifier: no class is *the* class."""
    if teacher.task.rows > 1:
        raise DfkdError(
            "class activation maps are of the one class that an image has, and this teacher's "
            "labels hold side by side: use `knowledge=kd`, or grad_cam for its maps"
        )


def as_embedding(values: Tensor) -> Tensor:
    """Return N x D in float32: maps are averaged over their places."""
    return values.float().mean((2, 3)) if values.ndim == 4 else values.flatten(1).float()
