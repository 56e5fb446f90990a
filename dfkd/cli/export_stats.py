"""``dfkd export-stats``."""

from dataclasses import replace

from dfkd.cli import arguments
from dfkd.cli.common import teacher_of
from dfkd.datasets import load_images
from dfkd.errors import DfkdError
from dfkd.runs.export_statistics import export_statistics
from dfkd.tasks.subset import choose_classes
from dfkd.tasks.words import first_few
from dfkd.training import devices


def run_export_stats(command: arguments.ExportStats) -> int:
    """Write the pack, and print what is in it."""
    # The whole network, also where some classes' images are read: whoever gets the pack may cut it.
    teacher = teacher_of(command.teacher, replace(command.facts, only_classes=None))
    teacher.to(devices.resolve_device(command.device))
    if (only := command.facts.only_classes) is not None:
        teacher.subset = choose_classes(only, teacher.class_names)
    images = load_images(command.data, teacher, labels=False)
    if only is not None and images.labels is None:
        raise DfkdError(f"`only_classes` leaves images out by labels, and {images.name} has none")
    names = tuple(filter(None, (command.layers or "").split(",")))
    pack = export_statistics(
        teacher, images, command.out, layers=names,
        noise_epsilon=command.noise_epsilon, noise_delta=command.noise_delta,
        overwrite=command.overwrite,
    )  # fmt: skip
    labels = [layer.label for layer in pack.layers]
    numbers = sum(2 * len(layer.mean) for layer in pack.layers)
    print(
        f"{command.out}: {numbers:,} numbers, means and variances of what enters {len(labels)} "
        f"layers ({first_few(labels)}) on {pack.samples:,} images"
    )
    noise = pack.noise
    if noise is None:
        print("no noise was added: --noise-epsilon and --noise-delta would hide single images")
    else:
        print(
            f"with noise for epsilon {noise.epsilon:g} and delta {noise.delta:g} by "
            f"{noise.accountant}: deviation {noise.deviation:.3g} of what drawings give"
        )
    print(f"give it to others with the teacher: --prior pack:{command.out}")
    return 0
