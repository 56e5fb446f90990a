"""A student and all that trains it: its forward pass, its losses, its optimiser, its average.

Every scheme of ``dfkd.distillation.schemes`` writes its own step from these pieces:

    shard = learner.prepare(batch)           # flipped; this process's share
    outputs = learner.forward(shard)         # both networks, with what the losses need
    parts = learner.losses(outputs)          # by name, unweighted
    learner.learn(learner.weighted(parts))   # backward, step, average
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.distillation.adapters import build_losses
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.student_init import is_frozen
from dfkd.losses.objective import parse
from dfkd.losses.registry import find_loss
from dfkd.networks.copying import copy_network
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.modes import set_mode
from dfkd.networks.pairing import read_pair
from dfkd.protocols import Batch, Metrics
from dfkd.tasks.prediction import rows_of
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.layout import layout_of, to_layout
from dfkd.teacher.outputs import PairOutputs
from dfkd.teacher.statistics import statistics_layers
from dfkd.training.augment import flip
from dfkd.training.averaging import MovingAverage
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from dfkd.training.norm_momentum import NormMomentum
from dfkd.training.optimizers import make_optimizer


class Learner:
    """One student of a teacher.

    Args:
        teacher: frozen.
        student: trained in place.
        config: how it learns.
        seed: of the flips and of adapters' weights.
        runtime: processes and precision.
        extra_losses: computed by the scheme and trained, but not added to the loss.
        network: what is called, trained and averaged in the student's place: a module that holds
            it and answers alike.

    Attributes:
        student: the live network.
        network: what is called.
        adapters: by name, the modules of losses that learn; thrown away with the run.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        runtime: Runtime = SINGLE_PROCESS,
        extra_losses: Sequence[str] = (),
        network: nn.Module | None = None,
    ) -> None:
        self.teacher, self.student, self.config, self.runtime = teacher, student, config, runtime
        self.network = student if network is None else network
        own = {id(parameter) for parameter in student.parameters()}
        beside = [p for p in self.network.parameters() if id(p) not in own]
        self._optimizer = make_optimizer(
            student, config.optimizer, config.lr, config.weight_decay, beside
        )
        runtime.broadcast_module(self.network)
        teacher.autocast = runtime.autocast
        self._weights = parse(config.knowledge)
        rows = {name: find_loss(name) for name in (*self._weights, *extra_losses)}
        self._forward = PairedForward(
            teacher,
            {path for row in rows.values() for path in row.needs},
            student,
            network=self.network,
            pairs=tuple(read_pair(pair) for pair in config.pairs),
            vectors=all(row.vectors for row in rows.values() if row.features),
        )
        self._forward.temperature = config.temperature
        self._losses, self.adapters = build_losses(rows, self._forward.example, seed)
        self.adapters.to(teacher.device)
        runtime.broadcast_module(self.adapters)
        self._related = {name for name in self._weights if rows[name].relation}
        self._related_features = any(rows[name].features for name in self._related)
        # Muon is for hidden layers, and what adapters learn is thrown away: theirs are all ends.
        kind = "sgd" if config.optimizer == "sgd" else "adamw"
        self._adapters_optimizer = (
            make_optimizer(self.adapters, kind, config.lr, config.weight_decay)
            if len(self.adapters)
            else None
        )
        self._average = MovingAverage(self.network, config.ema) if config.ema else None
        self._generator = torch.Generator().manual_seed(seed)
        # Layers that take no gradient keep their running statistics as well; with care all do.
        norms = statistics_layers(student).values()
        kept = norms if config.careful else ()
        self._momentum = NormMomentum(norms)
        self._resting = (*filter(is_frozen, student.modules()), *kept)
        self._counts = torch.zeros(teacher.num_classes, dtype=torch.int64, device=teacher.device)
        self._shown: tuple[int, ...] = (TRIAL, *teacher.spec.shape)
        self.teacher_images = 0
        self.steps = 0

    @property
    def pairs(self) -> tuple[str, ...]:
        """The layers that are compared, as ``teacher.LAYER=student.LAYER``."""
        return tuple(f"teacher.{theirs}=student.{mine}" for mine, theirs in self._forward.compared)

    def set_progress(self, progress: float) -> None:
        """Set rates and temperature for this point of the budget, in [0, 1]."""
        for optimizer in filter(None, (self._optimizer, self._adapters_optimizer)):
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr_at(progress)
        self._forward.temperature = self.config.temperature_at(progress)

    def prepare(self, batch: Batch) -> Batch:
        """Flip the batch, alike in every process, and take this rank's shard."""
        # A mirror image is one that the teacher is taken to answer alike: cached answers stand.
        inputs, count = batch.inputs, len(batch.inputs)
        if self.config.flip:
            inputs = flip(inputs, self.config.flip, self._generator)
        if batch.mirrorable is not None:
            inputs = torch.where(batch.mirrorable.view(-1, 1, 1, 1), inputs, batch.inputs)
        shard = slice(self.runtime.rank, None, self.runtime.world_size)
        inputs = to_layout(inputs[shard], layout_of(self.student))
        self._shown = inputs.shape
        known = batch.prediction and batch.prediction.of_samples(shard, count)
        target = None if batch.target is None else rows_of(batch.target, shard, count)
        return Batch(inputs, known, target)

    def forward(self, shard: Batch) -> PairOutputs:
        """Show student (in training mode) and teacher the samples of ``shard``."""
        self.network.train()
        self._momentum.set_step(self.steps)
        for module in self._resting:
            module.eval()
        asked = self._forward.asks_teacher(shard.prediction)
        self.teacher_images += self.runtime.world_size * len(shard.inputs) * asked
        outputs = self._forward.learn(*shard[:3])
        counts = self.teacher.task.counts(outputs.teacher.prediction)
        self._counts += self.runtime.gather(counts[None]).sum(0)
        return outputs

    def losses(self, outputs: PairOutputs) -> dict[str, Tensor]:
        """Compute the losses of the knowledge by name, without their weights."""
        gather, features = self.runtime.all_gather_with_grad, self._related_features
        whole = outputs.of_all(gather, features=features) if self._related else outputs
        return {
            name: self._losses[name](whole if name in self._related else outputs)
            for name in self._weights
        }

    def weighted(self, parts: dict[str, Tensor]) -> Tensor:
        """Return their weighted sum."""
        return torch.stack([self._weights[name] * value for name, value in parts.items()]).sum()

    def learn(self, loss: Tensor) -> None:
        """Take one optimiser step; the averaged student follows."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._adapters_optimizer:
            self._adapters_optimizer.zero_grad(set_to_none=True)
        with calling("the student", self._shown, known=TRIAL):
            loss.backward()
        self.runtime.all_reduce_gradients(self.network)
        self._optimizer.step()
        if self._adapters_optimizer:
            self.runtime.all_reduce_gradients(self.adapters)
            self._adapters_optimizer.step()
        self.steps += 1
        if self._average is not None:
            self._average.update_parameters(self.network)

    def class_counts(self) -> list[int]:
        """Count the teacher's answers by class so far, to the images of all processes."""
        return [int(count) for count in self._counts.tolist()]

    def finished(self) -> nn.Module:
        """Return a copy in eval mode, averaged, or live where no average is kept."""
        self._momentum.restore()
        finished = copy_network(self._average.module if self._average else self.network)
        set_mode(finished, False)
        return finished

    def state_dict(self) -> dict[str, Any]:
        """Return student, average, optimisers, adapters, generator and counters."""
        return {
            "student": self.network.state_dict(),
            "average": self._average.module.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "adapters": self.adapters.state_dict(),
            "adapters_optimizer": self._adapters_optimizer.state_dict()
            if self._adapters_optimizer
            else None,
            "generator": self._generator.get_state(),
            "class_counts": self._counts,
            "teacher_images": self.teacher_images,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.network.load_state_dict(state["student"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
            self._average.n_averaged.fill_(1 + state["steps"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.adapters.load_state_dict(state["adapters"])
        if self._adapters_optimizer:
            self._adapters_optimizer.load_state_dict(state["adapters_optimizer"])
        self._generator.set_state(state["generator"])
        self._counts.copy_(state["class_counts"])
        self.teacher_images, self.steps = state["teacher_images"], state["steps"]


def metrics(parts: dict[str, Tensor], outputs: PairOutputs) -> Metrics:
    """Report a step: its losses by name, and how often student and teacher decide alike."""
    pair = outputs.answered.prediction, outputs.teacher.prediction
    return {
        **{name: value.detach() for name, value in parts.items()},
        "agreement": outputs.task.agreement(*pair),
    }
