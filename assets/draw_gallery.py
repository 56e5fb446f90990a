"""Run the examples and draw the pictures of ``examples/README.md``.

    python assets/draw_gallery.py [NAME ...]        # half an hour for all on two cores

Charts show what an example prints, photographs what it makes.
"""

import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import torch
from PIL import Image

import dfkd

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "assets" / "figures"
BLUE, GREY, INK = "#3b6fb6", "#c3c8d0", "#30343b"
Bars = list[tuple[str, float]]


def bars(rows: Bars, path: Path, unit: str = "% of the real test images") -> None:
    """Draw horizontal bars, a share each; those whose label starts with * are grey."""
    figure, axes = plt.subplots(figsize=(6.4, 0.36 * len(rows) + 0.5), layout="constrained")
    names = [name.lstrip("*") for name, _ in rows]
    colours = [GREY if name.startswith("*") else BLUE for name, _ in rows]
    drawn = axes.barh(range(len(rows)), [100 * share for _, share in rows], 0.62, color=colours)
    axes.bar_label(drawn, fmt="%.1f", padding=4, color=INK)
    axes.set(yticks=range(len(rows)), yticklabels=names, xlim=(0, 112), xlabel=unit)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, colors=INK)
    save(figure, path)


def pictures(images: torch.Tensor, titles: list[str], columns: int, path: Path) -> None:
    """Draw N x 1 x H x W images in rows, a title above each of the first."""
    rows = -(-len(images) // columns)
    size = (1.1 * columns, 1.1 * rows + 0.25)
    figure, grid = plt.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained")
    for index, (axes, image) in enumerate(zip(grid.flat, images, strict=True)):
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        axes.axis("off")
        if index < len(titles):
            axes.set_title(titles[index], fontsize=9, color=INK)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure on white, the same bytes each time."""
    plain = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with plt.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "dfkd", "font.family": "sans-serif"}
    ):
        figure.savefig(path, metadata=plain, facecolor="white", dpi=110)
    plt.close(figure)


def found(pattern: str, printed: str) -> list[tuple[str, ...]]:
    """Find rows of what an example printed; the last group is a percentage."""
    return re.findall(pattern, printed, re.M)


def shares(pattern: str, *grey: str) -> Callable[[str], Bars]:
    """Make rows from a pattern of two groups, a label and a percentage; ``grey`` are references."""

    def read(printed: str) -> Bars:
        rows = [(name.strip(), float(share) / 100) for name, share in found(pattern, printed)]
        return [("*" * (name in grey) + name, share) for name, share in rows]

    return read


def exits(printed: str) -> Bars:
    """Read the early exits: both shares of each."""
    pattern = r"^(.+): (.+)% of the student's accuracy at (.+)% of its compute"
    rows: Bars = []
    for name, kept, cost in found(pattern, printed):
        rows += [(f"{name}: accuracy", float(kept) / 100), (f"*{name}: compute", float(cost) / 100)]
    return rows


def robust(printed: str) -> Bars:
    """Read clean and attacked accuracy of both students."""
    rows: Bars = []
    pattern = r"^(?:scheme=)?(\w+): (.+)% of clean images, (.+)% of attacked"
    for name, clean, attacked in found(pattern, printed):
        rows += [
            (f"*{name}, clean", float(clean) / 100),
            (f"{name}, attacked", float(attacked) / 100),
        ]
    return rows


def peers(printed: str) -> Bars:
    """Read the student that learns alone, and those that teach each other."""
    rows: Bars = []
    for line in filter(None, printed.splitlines()):
        scheme, *students = line.removeprefix("scheme=").split("  ")
        for name, _, share in (student.rpartition(" ") for student in students):
            label = f"{scheme}, {name}"
            rows.append(("*" * (scheme == "offline") + label, float(share.rstrip("%")) / 100))
    return rows


CHARTS: dict[str, tuple[Callable[[str], Bars], str]] = {
    "distil_in_python": (shares(r"^(\w+): ([\d.]+)% of real", "teacher"), ""),
    "hints_and_relations": (shares(r"^(kd.*): ([\d.]+)%; compared", "kd"), ""),
    "critic": (shares(r"^(weight [\d.]+): accuracy ([\d.]+)%", "weight 0.0"), ""),
    "mutual_learning": (peers, ""),
    "robust_student": (robust, ""),
    "merge_two_teachers": (
        shares(
            r"(the two side by side|a joint teacher|merged student) ([\d.]+)%",
            "the two side by side",
            "a joint teacher",
        ),
        "",
    ),
    "early_exits": (exits, "% of the whole student's"),
}


def invert_and_plot(example: dict[str, Any], path: Path) -> None:
    """Take the picture that the example writes, smaller and in 16 greys."""
    run("invert_and_plot", "--out", str(path))
    image = Image.open(path).convert("L")
    image.thumbnail((520, 520))
    image.quantize(16).save(path, optimize=True)


def own_loss(example: dict[str, Any], path: Path) -> None:
    """Show eight images without the example's loss, and eight with it."""
    made: list[Any] = []
    invert = dfkd.invert

    def recorded(*arguments: Any, **options: Any) -> Any:
        made.append(invert(*arguments, **options))
        return made[-1]

    dfkd.invert = recorded  # type: ignore[assignment]
    example["main"](300)
    titles = ["0", "8"] * 4
    pictures(torch.cat([one.images[:8] for one in made]), titles, 8, path)


def own_teacher_from_a_file(example: dict[str, Any], path: Path) -> None:
    """Show the toy images that the example's teacher learns from."""
    torch.manual_seed(0)
    labels = torch.arange(8) % 4
    titles = [example["NAMES"][label] for label in labels[:4]]
    pictures(example["stripes"](labels), titles, 4, path)


PICTURES = {one.__name__: one for one in (invert_and_plot, own_loss, own_teacher_from_a_file)}


def run(name: str, *options: str) -> str:
    """Run an example away from the checkout and return what it prints."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *options]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout


def draw(name: str, printed: str | None = None) -> Path:
    """Draw one example's picture; ``printed`` is what it printed, if it has run before."""
    if name in PICTURES:
        path = FIGURES / f"{name}.png"
        PICTURES[name](runpy.run_path(str(ROOT / "examples" / f"{name}.py")), path)
        return path
    read, unit = CHARTS[name]
    path = FIGURES / f"{name}.svg"
    bars(read(run(name) if printed is None else printed), path, *filter(None, [unit]))
    return path


if __name__ == "__main__":
    for name in sys.argv[1:] or [*CHARTS, *PICTURES]:
        print(draw(name))
