"""The methods by name: one row says all that the rest of the package must know of each.

To add a method, write its file and its row here; recipes, ``dfkd distill --method``, ``probe``,
``bench`` and ``--batch-size`` take it from there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dfkd.distillers.offline import OfflineConfig
from dfkd.engine import Rhythm
from dfkd.methods import deep_inversion_settings
from dfkd.methods.deep_inversion import DeepInversion
from dfkd.methods.default import Default, DefaultConfig
from dfkd.methods.drawings import Drawings, DrawingsConfig
from dfkd.methods.nayer import Nayer, NayerConfig
from dfkd.protocols import Synthesizer
from dfkd.spec import ImageSpec

Shapes = tuple[tuple[int, ...], ...]


class Method(NamedTuple):
    """A row of the catalogue.

    Attributes:
        config: gives the setting that ``--method`` starts from, a frozen dataclass.
        build: (teacher, setting, seed, autocast=...) -> the ``Synthesizer``.
        line: what it does, and its paper.
        rhythm: how its updates and the student's steps take turns.
        distiller: how its paper trains the student (its loss; the optimiser is everybody's).
        batch: the setting that says how many images are optimised together, "" for none.
        passes: the setting that says how many passes of the teacher an update makes, "" for one.
        statistics: whether the teacher must store some.
        classifier: whether the teacher must end with a linear layer.
        shapes: of the traced batches, where they are not simply ``batch`` images.
    """

    config: Callable[[], Any]
    build: Callable[..., Synthesizer]
    line: str
    rhythm: Rhythm = Rhythm()
    distiller: OfflineConfig = OfflineConfig()
    batch: str = ""
    passes: str = ""
    statistics: bool = True
    classifier: bool = False
    shapes: Callable[[Any, ImageSpec], Shapes] | None = None


METHODS: dict[str, Method] = {
    "default": Method(
        DefaultConfig,
        Default,
        "Drawings, their pixels corrected by what the teacher remembers",
        Rhythm(warmup_updates=8, warmup_share=0.25, steps_per_update=80),
        batch="refine_batch",
        passes="refine_steps",
        statistics=False,
    ),
    "drawings": Method(
        DrawingsConfig,
        lambda teacher, config, seed, autocast=None: Drawings(teacher, config, seed),
        "Drawings in one fixed style; for teachers that store no statistics",
        statistics=False,
    ),
    "deep_inversion": Method(
        deep_inversion_settings.cifar,
        DeepInversion,
        "DeepInversion, the authors' CIFAR setting (Yin et al., CVPR 2020): pixels, then student",
        # One update is one iteration: the warm-up is the first batch, or half of a budget in time.
        Rhythm(warmup_updates=deep_inversion_settings.cifar().iterations),
        batch="batch_size",
        shapes=deep_inversion_settings.traced_shapes,
    ),
    "nayer": Method(
        NayerConfig,
        Nayer,
        "NAYER (Tran et al., CVPR 2024): class embeddings through a noisy layer drawn anew",
        Rhythm(warmup_updates=2, steps_per_update=40, batch_size=256),
        batch="synthesis_batch_size",
        passes="g_steps",
    ),
}
