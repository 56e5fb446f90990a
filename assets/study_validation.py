"""Does validation without data tell how good a student is? Real images only check it.

    python study_validation.py ROWS.jsonl [--figure FILE.png]

A row of ROWS is a student kept on the way of a run: pair, method, seed, share (of the budget),
accuracy (on real test images), teacher (its accuracy), agreement (on held-out synthetic images).
Prints Spearman's correlation, the regret of choosing by agreement, and of the interval that
``dfkd.evaluation.expected`` predicts coverage and width, each pair left out of the fit in turn;
then the constants of the fit to all pairs.
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr, t

from dfkd.evaluation.expected import COVERAGE, logit

Row = dict[str, Any]


class Fit(NamedTuple):
    """A line through logits: its slope and offset, how far off it is, and on how many students."""

    slope: float
    offset: float
    deviation: float
    students: int

    def interval(self, agreement: float, teacher: float) -> tuple[float, float]:
        """Ends of the accuracy's interval."""
        middle = self.offset + self.slope * logit(agreement)
        reach = self.deviation * float(t.ppf((1 + COVERAGE) / 2, self.students - 2))
        reach *= math.sqrt(1 + 1 / self.students)
        low, high = (teacher / (1 + math.exp(-(middle + sign * reach))) for sign in (-1, 1))
        return low, high


def fitted(rows: Sequence[Row]) -> Fit:
    """Fit the share of the teacher's accuracy that a student keeps to its agreement."""
    x = np.array([logit(row["agreement"]) for row in rows])
    y = np.array([logit(row["accuracy"] / row["teacher"]) for row in rows])
    slope, offset = np.polyfit(x, y, 1)
    residuals = y - slope * x - offset
    return Fit(float(slope), float(offset), float(residuals.std(ddof=2)), len(rows))


def grouped(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some of their keys."""
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return dict(groups)


def regret(rows: Sequence[Row]) -> float:
    """Accuracy that is lost by keeping the student that agrees most, in points."""
    best = max(row["accuracy"] for row in rows)
    return float(100 * (best - max(rows, key=lambda row: row["agreement"])["accuracy"]))


def correlation(rows: Sequence[Row]) -> float:
    """Spearman's, of agreement and the share of the teacher's accuracy that is kept."""
    kept = [row["accuracy"] / row["teacher"] for row in rows]
    return float(spearmanr([row["agreement"] for row in rows], kept).statistic)


def intervals(rows: Sequence[Row]) -> list[tuple[Row, float, float]]:
    """Each student with the interval that a fit to all other pairs gives it."""
    found = []
    for (pair,), own in grouped(rows, "pair").items():
        fit = fitted([row for row in rows if row["pair"] != pair])
        found += [(row, *fit.interval(row["agreement"], row["teacher"])) for row in own]
    return found


def report(rows: Sequence[Row]) -> None:
    """Print all figures."""
    methods = {row["method"] for row in rows}
    by_pair, by_run = grouped(rows, "pair"), grouped(rows, "pair", "method", "seed", "minutes")
    print(
        f"{len(rows)} students of {len(by_run)} runs, {len(methods)} methods, {len(by_pair)} pairs"
    )
    print(f"Spearman, all: {correlation(rows):.3f}")
    for (pair,), own in by_pair.items():
        print(f"  {pair}: {len(own)} students, Spearman {correlation(own):.3f}, "
              f"regret {regret(own):.2f} points")  # fmt: skip
    for name, groups in (("pair", by_pair), ("run", by_run)):
        lost = [regret(own) for own in groups.values()]
        print(f"regret of the choice within a {name}: mean {np.mean(lost):.2f}, "
              f"most {max(lost):.2f} points")  # fmt: skip
    found = intervals(rows)
    for least in (0.0, 0.8, 0.9):
        some = [one for one in found if one[0]["agreement"] >= least]
        inside = [low <= row["accuracy"] <= high for row, low, high in some]
        widths = [100 * (high - low) for _, low, high in some]
        print(f"interval, agreement from {least}: {len(some)} students, coverage "
              f"{np.mean(inside):.3f}, width {np.median(widths):.1f} points (median)")  # fmt: skip
    print(fitted(rows))


def draw(rows: Sequence[Row], path: Path) -> None:
    """Plot accuracy kept against agreement, a colour a pair, a mark a method."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    marks = dict(zip(sorted({row["method"] for row in rows}), "osD^vP*", strict=False))
    colours = {pair: f"C{index}" for index, (pair,) in enumerate(grouped(rows, "pair"))}
    for (pair, method), own in grouped(rows, "pair", "method").items():
        x, y = zip(*((r["agreement"], r["accuracy"] / r["teacher"]) for r in own), strict=True)
        axes.scatter(x, y, s=22, c=colours[pair], marker=marks[method], alpha=0.75, linewidths=0)
    fit, x = fitted(rows), np.linspace(0.02, 0.995, 200)
    low, high = zip(*(fit.interval(value, 1.0) for value in x), strict=True)
    axes.fill_between(x, low, high, color="0.5", alpha=0.15, linewidth=0)
    for name, colour in colours.items():
        axes.scatter([], [], c=colour, label=name)
    for name, mark in marks.items():
        axes.scatter([], [], c="0.3", marker=mark, label=name)
    axes.set(xlabel="agreement with the teacher on held-out synthetic images",
             ylabel="share of the teacher's accuracy on real test images")  # fmt: skip
    axes.legend(fontsize=8, loc="lower right", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--figure", type=Path)
    words = parser.parse_args()
    students = [json.loads(line) for line in words.rows.read_text().splitlines()]
    report(students)
    if words.figure:
        draw(students, words.figure)
