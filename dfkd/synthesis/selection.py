"""What of a method's images the student is shown: options of every method, off by default."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, check_within
from dfkd.networks.modes import frozen
from dfkd.protocols import Batch, Metrics, Synthesizer
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.clean import clean_probability, keep_clean, sample_losses
from dfkd.synthesis.priority import Priorities
from dfkd.teacher import Teacher
from dfkd.teacher.forward import student_prediction

_MEASURED = 1024
"""Images of a bank whose priority is measured after an update, at most."""
_CHUNK = 256


@dataclass(frozen=True)
class SelectionConfig:
    """What of a method's images the student is shown.

    Attributes:
        clean: a sample is kept if the teacher finds it clean with more than this chance (TA-DFKD;
            its authors have 0.5, and no one-hot or class-balance term in their generator's loss);
            those kept come over and over in place of the others. 0: all are kept.
        priority: samples of a bank are drawn by the student's divergence from the teacher to this
            exponent, over how often the teacher decides for their class (SSD-KD); 0: all alike.
        importance: how much of that draw's bias is undone by weights in the losses of answers, from
            0, nothing, to 1, all.
    """

    clean: float = 0.0
    priority: float = 0.0
    importance: float = 0.4

    def __post_init__(self) -> None:
        check_within(self, "[0, 1)", "clean")
        check_within(self, "[0, inf)", "priority")
        check_within(self, "[0, 1]", "importance")

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.clean > 0 or self.priority > 0


def selected(source: Synthesizer, teacher: Teacher, selection: SelectionConfig) -> Synthesizer:
    """Return ``source`` with a selection of its images, or as it is where none is asked for.

    Args:
        source: a method, or given images.
        teacher: who judges them.
        selection: what is asked for.

    Raises:
        DfkdError: a priority where nothing keeps images.
    """
    if not selection.active:
        return source
    return SelectedImages(source, teacher, selection)


class SelectedImages:
    """A ``Synthesizer`` that shows a choice of another one's images.

    Args:
        source: makes them.
        teacher: answers those that come without an answer.
        selection: see ``SelectionConfig``.
    """

    def __init__(self, source: Synthesizer, teacher: Teacher, selection: SelectionConfig) -> None:
        self.source, self.teacher, self.selection = source, teacher, selection
        self._asked = 0
        self._shares: list[Tensor] = []
        self._banks = [bank for bank in vars(source).values() if isinstance(bank, ImageBank)]
        if selection.priority > 0:
            if not self._banks:
                raise DfkdError(
                    "`selection.priority` draws from a bank of images, and this method keeps none: "
                    "leave it 0, or take fast, nayer, cmi, adi or default"
                )
            for bank in self._banks:
                bank.priorities = Priorities(
                    bank.capacity, teacher.device, selection.priority, selection.importance
                )

    def update(self, student: nn.Module) -> Metrics:
        """Update the source, and measure the priorities of some of its stored images."""
        made = self.source.update(student)
        if self.selection.priority > 0:
            for bank in self._banks:
                self._measure(bank, student)
        if self._shares:
            made = {**made, "kept": torch.stack(self._shares).mean()}
            self._shares.clear()
        return made

    def sample(self, count: int) -> Batch:
        """Return ``count`` of the source's images, the clean ones alone where that is asked."""
        batch = self.source.sample(count)
        if not self.selection.clean:
            return batch
        total = len(batch.inputs)
        prediction = batch.prediction
        if prediction is None:
            with torch.no_grad(), self.teacher.autocast():
                prediction = self.teacher.predict(batch.inputs).float()
            self._asked += total
        chance = clean_probability(sample_losses(prediction, total))
        index, share = keep_clean(chance > self.selection.clean, total)
        self._shares.append(share)
        target, mirrorable = (
            None if rows is None else rows.view(total, -1, *rows.shape[1:])[index].flatten(0, 1)
            for rows in (batch.target, batch.mirrorable)
        )
        known = prediction.of_samples(index, total)
        return Batch(batch.inputs[index], known, target, mirrorable)

    @torch.no_grad()
    def _measure(self, bank: ImageBank, student: nn.Module) -> None:
        """Ask the student about stored images, in turn; the teacher's answers lie beside them."""
        assert bank.priorities is not None
        places = bank.priorities.in_turn(_MEASURED, len(bank)) if len(bank) else torch.empty(0)
        for part in places.split(_CHUNK) if len(places) else ():
            known = bank.at(part)
            assert known.prediction is not None
            with frozen(student), self.teacher.autocast():
                answer = student_prediction(student, self.teacher, known.inputs)
            bank.priorities.measured(part, answer.logits, known.prediction.logits)

    @property
    def images_made(self) -> int:
        """How many images the source has made."""
        return self.source.images_made

    @property
    def teacher_images(self) -> int:
        """How many images the teacher was shown, by the source and for the selection."""
        return self.source.teacher_images + self._asked

    def state_dict(self) -> dict[str, Any]:
        """Return the source's state, priorities within its banks, and what was not reported yet."""
        shares = [share.clone() for share in self._shares]
        return {"source": self.source.state_dict(), "asked": self._asked, "shares": shares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.source.load_state_dict(state["source"])
        self._asked = state["asked"]
        self._shares = [share.to(self.teacher.device) for share in state["shares"]]
