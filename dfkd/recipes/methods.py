"""The methods by name: one row says all that the rest of the package must know of each.

To add a method, write its file and its row here; recipes, ``dfkd distill --method``, ``probe``,
``bench`` and ``--batch-size`` take it from there.
"""

from functools import partial
from pathlib import Path

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.loading.matrix import read_matrix
from dfkd.recipes.method_row import MethodRow, untraced
from dfkd.synthesis.methods import deep_inversion_config
from dfkd.synthesis.methods.adi import Adi, AdiConfig
from dfkd.synthesis.methods.cmi import Cmi, CmiConfig
from dfkd.synthesis.methods.dafl import Dafl, DaflConfig
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.dfad import Dfad, DfadConfig
from dfkd.synthesis.methods.dfme import Dfme, DfmeConfig
from dfkd.synthesis.methods.dfq import Dfq, DfqConfig
from dfkd.synthesis.methods.disguide import Disguide, DisguideConfig
from dfkd.synthesis.methods.drawings import Drawings, DrawingsConfig
from dfkd.synthesis.methods.fast import Fast, FastConfig
from dfkd.synthesis.methods.mad import Mad, MadConfig
from dfkd.synthesis.methods.nayer import RANDOM, Nayer, NayerConfig
from dfkd.synthesis.methods.pre import Pre, PreConfig
from dfkd.synthesis.methods.redraw import Redraw, RedrawConfig
from dfkd.synthesis.methods.smi import Smi, SmiConfig
from dfkd.synthesis.methods.spaceship import Spaceship, SpaceshipConfig
from dfkd.synthesis.methods.zskt import Zskt, ZsktConfig
from dfkd.teacher import Teacher
from dfkd.training.budget import Alternation


def _nayer(teacher: Teacher, config: NayerConfig, seed: int) -> Nayer:
    """Build NAYER with the embeddings that its setting names: a method reads no files."""
    if config.embeddings == RANDOM:
        return Nayer(teacher, config, seed)
    return Nayer(teacher, config, seed, read_matrix(Path(config.embeddings).expanduser()))


# What works in rounds is published for GPUs: a round would take minutes on a CPU. ``--method``
# starts from halves and fractions of the papers' sizes, here and in the rhythm. The papers' own
# are the dataclasses' defaults, and ``published``: the recipes NAME_published.
METHODS: dict[str, MethodRow] = {
    "redraw": MethodRow(
        RedrawConfig,
        Redraw,
        "ReDraw, the default: drawings, their pixels corrected by what the teacher remembers",
        Alternation(warmup_updates=8, warmup_share=0.1, steps_per_update=80),
        LearnerConfig(temperature=20.0),
        batch="refine_batch",
        passes="refine_steps",
        drawn="draws",
        share=0.02,
        statistics=False,
        gradient=False,
    ),
    "drawings": MethodRow(
        DrawingsConfig,
        Drawings,
        "Drawings in one fixed style; for teachers that store no statistics",
        alone=True,
        statistics=False,
        gradient=False,
    ),
    "deep_inversion": MethodRow(
        deep_inversion_config.cifar,
        DeepInversion,
        "DeepInversion, the authors' CIFAR setting (Yin et al., CVPR 2020): pixels, then student",
        # The warm-up is the first batch, or half of a budget in time.
        Alternation(warmup_updates=None),
        batch="batch_size",
        round=lambda setting: setting.total_iterations,  # one update is one iteration
        shapes=deep_inversion_config.traced_shapes,
    ),
    "adi": MethodRow(
        partial(AdiConfig, batch_size=128, iterations=100),
        Adi,
        "Adaptive DeepInversion (Yin et al., CVPR 2020): pixels on which the student is wrong yet",
        # The loop's rhythm is unpublished; ours.
        Alternation(warmup_updates=1, steps_per_update=100),
        batch="batch_size",
        passes="iterations",
        published=(AdiConfig, Alternation(warmup_updates=1, steps_per_update=200, batch_size=256)),
    ),
    "fast": MethodRow(
        FastConfig,
        Fast,
        "FastDFKD (Fang et al., AAAI 2022): a meta-generator, adapted to each batch in five steps",
        Alternation(warmup_updates=20, warmup_share=0.25, steps_per_update=40),
        LearnerConfig(temperature=20.0),
        batch="synthesis_batch_size",
        passes="g_steps",
        published=(
            FastConfig,
            Alternation(warmup_updates=20, warmup_share=0.25, steps_per_update=400, batch_size=256),
        ),
    ),
    "cmi": MethodRow(
        partial(CmiConfig, ngf=32, synthesis_batch_size=128, g_steps=50, cr_negatives=1024),
        Cmi,
        "CMI (Fang et al., IJCAI 2021): a new generator a round, images unlike earlier ones",
        Alternation(warmup_updates=1, steps_per_update=100),
        LearnerConfig(temperature=20.0),
        batch="synthesis_batch_size",
        passes="g_steps",
        shapes=untraced,
        published=(CmiConfig, Alternation(warmup_updates=1, steps_per_update=200, batch_size=256)),
    ),
    "mad": MethodRow(
        MadConfig,
        Mad,
        "MAD (Do et al., NeurIPS 2022): a generator beside an average of what it was",
        # Ours, as DFQ's: 1 step of the generator to 10 of the student. T = 1, so that what the
        # generator raises is what the student lowers.
        Alternation(warmup_updates=1, steps_per_update=10, batch_size=256),
        LearnerConfig(temperature=1.0),
        batch="synthesis_batch_size",
    ),
    "dafl": MethodRow(
        DaflConfig,
        Dafl,
        "DAFL (Chen et al., ICCV 2019): sure answers, even classes and an excited classifier",
        # Generator and student step on the same batch, in turns.
        Alternation(warmup_updates=1, steps_per_update=1, batch_size=512),
        LearnerConfig(temperature=1.0),
        batch="synthesis_batch_size",
        statistics=False,
        classifier=True,
        shapes=untraced,
    ),
    "pre": MethodRow(
        PreConfig,
        Pre,
        "PRE-DFKD (Binici et al., AAAI 2022): the student rehearses what a memory draws",
        Alternation(warmup_updates=1, steps_per_update=10, batch_size=1024),
        LearnerConfig(knowledge="l1"),
        batch="synthesis_batch_size",
        statistics=False,
        classifier=True,
        shapes=untraced,
    ),
    "dfad": MethodRow(
        DfadConfig,
        Dfad,
        "DFAD (Fang et al., 2019): images on which student and teacher differ most",
        Alternation(warmup_updates=1, steps_per_update=5, batch_size=256),
        LearnerConfig(knowledge="l1"),
        batch="synthesis_batch_size",
        statistics=False,
        shapes=untraced,
    ),
    "dfme": MethodRow(
        DfmeConfig,
        Dfme,
        "DFME (Truong et al., CVPR 2021): as DFAD, by estimated gradients: for closed teachers",
        Alternation(warmup_updates=1, steps_per_update=5, batch_size=256),
        LearnerConfig(knowledge="l1"),
        batch="synthesis_batch_size",
        statistics=False,
        gradient=False,
        shapes=untraced,
    ),
    "disguide": MethodRow(
        DisguideConfig,
        Disguide,
        "DisGUIDE (Rosenthal et al., AAAI 2023): images on which two clones of a closed one differ",
        Alternation(warmup_updates=1, steps_per_update=4, batch_size=256),
        LearnerConfig(knowledge="l1"),
        batch="synthesis_batch_size",
        statistics=False,
        gradient=False,
        shapes=untraced,
    ),
    "zskt": MethodRow(
        ZsktConfig,
        Zskt,
        "ZSKT (Micaelli & Storkey, NeurIPS 2019): adversarial images, and where the teacher looks",
        Alternation(warmup_updates=1, steps_per_update=10, batch_size=128),
        LearnerConfig(knowledge="kd_mean + 250*at", temperature=1.0),
        batch="synthesis_batch_size",
        statistics=False,
        shapes=untraced,
    ),
    "dfq": MethodRow(
        DfqConfig,
        Dfq,
        "DFQ (Choi et al., CVPRW 2020): an adversary that keeps to what the teacher knows",
        Alternation(warmup_updates=1, steps_per_update=10, batch_size=256),
        # T is ours: so the student lowers what the generator raises.
        LearnerConfig(temperature=1.0),
        batch="synthesis_batch_size",
    ),
    "spaceship": MethodRow(
        partial(SpaceshipConfig, ngf=32, synthesis_batch_size=128, g_steps=50),
        Spaceship,
        "SpaceshipNet (Yu et al., CVPR 2023): exchanged features, and where the teacher looks",
        Alternation(warmup_updates=1, steps_per_update=100),
        LearnerConfig(knowledge="kd + cam + grad_cam", temperature=30.0),
        batch="synthesis_batch_size",
        passes="g_steps",
        classifier=True,
        published=(
            SpaceshipConfig,
            Alternation(warmup_updates=1, steps_per_update=2000, batch_size=256),
        ),
    ),
    "nayer": MethodRow(
        partial(
            NayerConfig, ngf=32, latent_dim=256, synthesis_batch_size=256, g_steps=10, recreate=20
        ),
        _nayer,
        "NAYER (Tran et al., CVPR 2024): class embeddings through a noisy layer drawn anew",
        Alternation(warmup_updates=10, warmup_share=0.25, steps_per_update=60),
        LearnerConfig(temperature=20.0),
        batch="synthesis_batch_size",
        passes="g_steps",
        published=(
            NayerConfig,
            Alternation(warmup_updates=2, steps_per_update=400, batch_size=512),
        ),
    ),
    "smi": MethodRow(
        # Moved by less than a patch, small images lie across the patches that are left.
        partial(SmiConfig, iterations=400, jitter=0.0),
        Smi,
        "SMI (Hu et al., ICML 2024): pixels for a transformer, patches left out by its attention",
        Alternation(warmup_updates=None),
        LearnerConfig(temperature=20.0),
        batch="batch_size",
        round=lambda setting: setting.iterations,
        statistics=False,
        patches=True,
        shapes=untraced,
        published=(SmiConfig, Alternation(warmup_updates=None, batch_size=32)),
    ),
}
