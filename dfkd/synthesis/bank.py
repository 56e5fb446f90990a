"""A bounded memory of samples with the teacher's answers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.protocols import Batch
from dfkd.synthesis.balanced import ByClass, by_class
from dfkd.synthesis.priority import Priorities
from dfkd.synthesis.rows import DIMENSIONS, by_sample, rows_again
from dfkd.tasks import Prediction
from dfkd.teacher.spec import Space

_RANGE = 2**62  # of a draw: the rest of a division by a bank's size favours no image


class ImageBank:
    """Keeps the last ``capacity`` samples with the teacher's answers; memory is allocated once.

    Samples are stored as their space encodes them (images: a byte a pixel), a logit in two bytes
    (float16: 3 significant digits). Which are drawn follows from ``seed`` alone, on any device.

    Args:
        capacity: how many samples it holds.
        spec: their space.
        num_classes: how many logits a row of an answer has.
        seed: of the draws.
        device: where the samples lie.
        targets: how many there are; as many as classes, when left out.

    Attributes:
        priorities: by which samples are drawn (``dfkd.synthesis.selection``); None: all alike.

    Raises:
        DfkdError: no room for a sample.
    """

    def __init__(
        self,
        capacity: int,
        spec: Space,
        num_classes: int,
        seed: int,
        device: torch.device | str = "cpu",
        targets: int | None = None,
    ) -> None:
        self._targets = targets or num_classes
        if capacity < 1:
            raise DfkdError(f"an image bank must hold at least one image, not {capacity}")
        self.capacity, self.total = capacity, 0
        self._space, self._num_classes, self._device = spec, num_classes, torch.device(device)
        # Answers have as many rows a sample as the first ones that come.
        self._columns: dict[str, Tensor] = {}
        self._allocate({"inputs": spec.encode(spec.example(1, device))})
        self._by_class: ByClass | None = None  # for balanced draws; new after an ``add``
        self.priorities: Priorities | None = None
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def class_counts(self) -> Tensor:
        """Count the stored samples that are meant for each class, (classes,), where they lie."""
        target = self._columns["target"][: len(self)]
        # Not bincount: its length depends on the values, so that a GPU would have to wait.
        counts = target.new_zeros(self._targets)
        return counts.index_add_(0, target.flatten(), torch.ones_like(target.flatten()))

    def _balanced(self, count: int) -> Tensor:
        """Indices drawn with probability 1 / (samples of the same class), times a constant."""
        if self._by_class is None:
            self._by_class = by_class(self._columns["target"][: len(self)], self.class_counts())
        draws = torch.randint(_RANGE, (2, count), generator=self._generator)
        return self._by_class.drawn(draws.to(self._device))

    def add(self, inputs: Tensor, prediction: Prediction | Tensor, target: Tensor) -> None:
        """Store copies; the oldest samples make room.

        Args:
            inputs: N samples of the space; stored as it encodes them.
            prediction: the teacher's answers to the samples *as stored*, or their logits alone.
            target: what they were made for: N class indices, or rows of them.

        Raises:
            DfkdError: their shapes do not fit each other, or what is stored already.
        """
        if isinstance(prediction, Tensor):
            prediction = Prediction(prediction)
        if prediction.logits.shape[-1] != self._num_classes:
            found = tuple(prediction.logits.shape)
            raise DfkdError(f"the bank wants logits of {self._num_classes} classes, not {found}")
        largest = torch.finfo(torch.half).max  # an infinite logit would make NaN probabilities
        count = len(inputs)
        rows = {
            "inputs": self._space.encode(inputs),
            "logits": prediction.logits.detach().clamp(-largest, largest).half(),
            "weight": prediction.weight,
            "values": prediction.values,
            "target": target,
        }
        whole = {n: by_sample(n, v, count) for n, v in rows.items() if v is not None}
        self._allocate({n: v for n, v in whole.items() if n not in self._columns})
        for name, values in whole.items():
            expected = (count, *self._columns[name].shape[1:])
            if values.shape != expected:
                raise DfkdError(f"the bank wants {name} of {expected}, not {tuple(values.shape)}")
        kept = range(max(0, count - self.capacity), count)
        slots = torch.tensor([(self.total + i) % self.capacity for i in kept])
        for name, values in whole.items():
            column = self._columns[name]
            column[slots.to(column.device)] = values[kept.start :].to(column.device, column.dtype)
        if self.priorities is not None:
            self.priorities.arrived(slots, len(self))
        self._by_class = None
        self.total += count

    def _allocate(self, like: Mapping[str, Tensor]) -> None:
        for name, values in like.items():
            shape = (self.capacity, *values.shape[1:])
            self._columns[name] = torch.empty(shape, dtype=values.dtype, device=self._device)

    def sample(self, count: int, *, balanced: bool = False) -> Batch:
        """Draw stored samples; all different unless there are fewer in the bank.

        Args:
            count: how many.
            balanced: draw every class that the bank holds equally often on average, so that a
                sample of a rare class may come twice. Of samples with several rows all are drawn
                alike.

        Raises:
            DfkdError: the bank is empty.
        """
        filled = len(self)
        if not filled:
            raise DfkdError("the image bank is empty: update the synthesizer before sampling")
        if self.priorities is not None:
            return self._by_priority(count, self.priorities)
        if balanced and self._columns["target"].ndim == 1:
            index = self._balanced(count)
        elif count > filled:
            index = torch.randint(filled, (count,), generator=self._generator)
        else:
            index = torch.randperm(filled, generator=self._generator)[:count]
        return self.at(index)

    def _by_priority(self, count: int, priorities: Priorities) -> Batch:
        """Draw by priority; what is drawn more often than its share counts less."""
        logits = self._columns["logits"][: len(self)]
        # Of samples with several rows there is no one class to balance.
        rows = logits.argmax(1) if logits.ndim == 2 else logits.new_zeros(len(logits)).long()
        classes = rows.new_zeros(self._num_classes).index_add_(0, rows, torch.ones_like(rows))
        drawn = priorities.draw(count, rows, classes, self._generator)
        batch = self.at(drawn.places)
        if not priorities.importance:
            return batch
        assert batch.prediction is not None
        known, several = batch.prediction, len(batch.prediction.logits) // count
        weight = drawn.weight.repeat_interleave(several)
        weight = weight if known.weight is None else weight * known.weight
        return batch._replace(prediction=known._replace(weight=weight))

    def at(self, index: Tensor) -> Batch:
        """Return the samples that are stored at places ``index``, with the answers to them."""
        index = index.to(self._device)
        taken = {name: column[index] for name, column in self._columns.items()}
        rows = {name: rows_again(taken.get(name), n) for name, n in DIMENSIONS.items()}
        logits = rows["logits"]
        assert logits is not None
        prediction = Prediction(logits.float(), rows["weight"], rows["values"])
        target = rows_again(taken["target"], 1)
        return Batch(self._space.decode(taken["inputs"]), prediction, target)

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part (copies), the count and the random generator."""
        filled = {name: values[: len(self)].clone() for name, values in self._columns.items()}
        state = {"columns": filled, "total": self.total, "generator": self._generator.get_state()}
        if self.priorities is not None:
            state["priorities"] = self.priorities.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``: the same samples, and the same draws from here on.

        Raises:
            DfkdError: the saved bank is of another size or of other samples.
        """
        filled, logits = min(state["total"], self.capacity), state["columns"].get("logits")
        if logits is not None and logits.shape[-1] != self._num_classes:
            raise DfkdError(
                f"this bank holds logits of {self._num_classes} classes, "
                f"the saved one of {logits.shape[-1]}"
            )
        if not filled:  # an update that was cut short may have brought columns since
            self._columns = {n: v for n, v in self._columns.items() if n in state["columns"]}
        self._allocate({n: v for n, v in state["columns"].items() if n not in self._columns})
        for name, column in self._columns.items():
            expected = (filled, *column.shape[1:])
            saved = state["columns"].get(name)
            if saved is None or saved.shape != expected:
                found = None if saved is None else tuple(saved.shape)
                raise DfkdError(f"this bank holds {name} of {expected}, the saved one {found}")
            column[:filled] = saved
        self._by_class = None
        self.total = state["total"]
        self._generator.set_state(state["generator"].cpu())
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"])
