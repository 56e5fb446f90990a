"""What every method shares: its counters, its random numbers, its state, the teacher's labels."""

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.bank import ImageBank
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.outputs import PairOutputs


class Method(ABC):
    """A ``Synthesizer`` whose file holds what its paper says: ``update`` and ``sample``.

    Args:
        teacher: who is asked; images live on its device, passes run in its ``autocast``.
        config: the method's settings.
        seed: of all that is random here; the global random state is left alone.

    Attributes:
        parts: names of modules, optimisers and banks that an exact resume needs.
        values: names of numbers and tensors that it needs besides.
        images_made: how many images so far.
        teacher_images: how many images the teacher has been shown so far.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    values: ClassVar[tuple[str, ...]] = ()
    bank: ImageBank

    def __init__(self, teacher: Teacher, config: Any, seed: int) -> None:
        self.teacher, self.config, self.device = teacher, config, teacher.device
        self._rng = torch.Generator().manual_seed(seed)
        self.images_made = self.teacher_images = 0

    @abstractmethod
    def update(self, student: nn.Module) -> Metrics:
        """Work once on the images; return scalars by name. The student stays as it is."""

    @abstractmethod
    def sample(self, count: int) -> Batch:
        """Return ``count`` images to learn from, before the first update as well."""

    def new_bank(self, capacity: int, seed: int) -> ImageBank:
        """Make a bank for the teacher's images and answers."""
        teacher = self.teacher
        task = teacher.task
        return ImageBank(
            capacity, teacher.spec, task.width, seed, teacher.device, targets=task.targets
        )

    def run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Call a generator in the teacher's precision; return float32."""
        with self.teacher.autocast():
            values: Tensor = network(*inputs)
        return values.float()

    def ask(
        self,
        forward: PairedForward,
        inputs: Tensor,
        student: nn.Module | None = None,
        *,
        targets: Any = None,
        training: bool = False,
    ) -> PairOutputs:
        """Show both networks ``inputs`` and count them; see ``PairedForward``."""
        self.teacher_images += len(inputs)
        return forward(inputs, student, targets=targets, training=training)

    @torch.no_grad()
    def label(self, images: Tensor) -> tuple[Tensor, Prediction]:
        """Return images as a bank gives them back, and the teacher's answers to *those*."""
        images = self.teacher.spec.decode(self.teacher.spec.encode(images))
        self.teacher_images += len(images)
        with self.teacher.autocast():
            return images, self.teacher.predict(images).float()

    def keep(self, images: Tensor, targets: Tensor) -> None:
        """Label a finished batch and put it into ``bank``."""
        images, prediction = self.label(images)
        self.bank.add(images, prediction, targets)
        self.images_made += len(images)

    def cycle(self, images: Tensor, count: int, **known: Any) -> Batch:
        """Return the first ``count`` images, or all of them over and over.

        Args:
            images: N x C x H x W.
            count: how many to return.
            known: further fields of the ``Batch``, tensors of N rows.
        """
        index = torch.arange(count, device=self.device) % len(images)
        return Batch(images[index], **{name: value[index] for name, value in known.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, as copies: training goes on, a checkpoint not."""
        state = {name: getattr(self, name).state_dict() for name in self.parts}
        state |= {name: _plain(getattr(self, name)) for name in (*self.values, *_COUNTERS)}
        return copy.deepcopy({**state, "rng": self._rng.get_state()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical, on the teacher's device."""
        state = copy.deepcopy(state)
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        for name in (*self.values, *_COUNTERS):
            setattr(self, name, _moved(state[name], self.device))
        self._rng.set_state(state["rng"])


_COUNTERS = ("images_made", "teacher_images")


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step down ``loss`` with fresh gradients."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _plain(value: Any) -> Any:
    """Turn named tuples into tuples: a checkpoint holds no classes of ours."""
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, device) for each in value)
    return value
