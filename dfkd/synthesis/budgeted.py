"""A method whose teacher answers a limited number of times: what it has said is shown again."""

from typing import Any

import torch
from torch import Tensor, nn

from dfkd.access.meter import Meter, QueriesSpentError
from dfkd.protocols import Batch, Metrics, Synthesizer
from dfkd.synthesis.bank import ImageBank
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher

_MOST = 1 << 20
"""Images that are kept without a budget, at most."""
_BYTES = 1 << 32


class BudgetedImages:
    """A ``Synthesizer`` around another one: fresh images are labelled once, and all are kept.

    While queries are left the method works as it does without a limit. Then it makes no more
    images, and the student goes on with all that were answered, every class as often.

    Args:
        method: makes the images.
        teacher: labels them.
        meter: counts.
        seed: of the order in which they come again.
    """

    def __init__(self, method: Synthesizer, teacher: Teacher, meter: Meter, seed: int) -> None:
        self._method, self._teacher, self._meter = method, teacher, meter
        bytes_each = max(1, torch.Size(teacher.spec.shape).numel())
        most = int(min(_MOST if meter.budget is None else meter.budget, _BYTES // bytes_each))
        # One image at first: most methods label what they make, and need no room here.
        self._most, self._seed = max(1, most), seed
        self._bank: ImageBank | None = None
        self._made, self._over = 0, False

    def update(self, student: nn.Module) -> Metrics:
        """Let the method work, as long as its questions can be paid."""
        if self._over or not self._meter.left:
            return {}
        try:
            return self._method.update(student)
        except QueriesSpentError:
            self._over = True  # what is left is too little for an update: images may take it
            return {}

    def sample(self, count: int) -> Batch:
        """Return the method's images with answers; once none can be paid, earlier ones."""
        if self._bank is not None and not self._meter.left:
            return self._bank.sample(count, balanced=True)
        batch = self._method.sample(count)
        if batch.prediction is not None:
            return batch
        few = self._teacher.affordable(count)
        if few:
            images, prediction = self._labelled(batch.inputs[:few])
            targets = self._teacher.task.decide(prediction)
            self._stored().add(images, prediction, targets)
            if few == count:
                return Batch(images, prediction, targets)
        return self._stored().sample(count, balanced=True)

    @torch.no_grad()
    def _labelled(self, images: Tensor) -> tuple[Tensor, Prediction]:
        spec = self._teacher.spec
        images = spec.decode(spec.encode(images))
        self._made += len(images)
        with self._teacher.autocast():
            return images, self._teacher.predict(images).float()

    def _stored(self) -> ImageBank:
        if self._bank is None:
            spec, classes = self._teacher.spec, self._teacher.num_classes
            self._bank = ImageBank(self._most, spec, classes, self._seed, self._teacher.device)
        return self._bank

    @property
    def images_made(self) -> int:
        """Images that the method has made."""
        return self._method.images_made

    @property
    def teacher_images(self) -> int:
        """Images that the teacher has been shown, whether it was paid for them anew or not."""
        return self._method.teacher_images + self._made

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state, the images, and how far the budget is spent."""
        return {
            "method": self._method.state_dict(),
            "bank": None if self._bank is None else self._bank.state_dict(),
            "made": self._made,
            "over": self._over,
            "position": self._meter.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; what was asked later will be asked again, for nothing."""
        self._method.load_state_dict(state["method"])
        self._bank = None
        if state["bank"] is not None:
            self._stored().load_state_dict(state["bank"])
        self._made, self._over = state["made"], state["over"]
        self._meter.rewind(state["position"])
