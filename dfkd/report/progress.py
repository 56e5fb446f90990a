"""Progress of a run: a live bar in a terminal, plain lines elsewhere."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dfkd.report.units import NARROW, duration

BLOCKS = "▁▂▃▄▅▆▇█"
LINE_SECONDS, LINE_SHARE = 10.0, 0.05


class Progress:
    """Show how much of a budget is spent, the rate, the time left, losses and class balance.

    Args:
        title: the work, in a word or two.
        console: the output; without it, standard output.
    """

    def __init__(self, title: str = "Distilling", console: Console | None = None) -> None:
        self._title, self._console = title, console or Console()
        self._live: Live | None = None
        self._first: tuple[float, float, int] | None = None
        self._printed = (-math.inf, -math.inf)

    def __enter__(self) -> "Progress":
        if self._console.is_interactive:
            # No refresher thread: the run has few cores and reports every two seconds anyway.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def update(
        self,
        fraction: float,
        step: int,
        metrics: Mapping[str, float],
        class_counts: Sequence[int] | None = None,
    ) -> None:
        """Show the state of the run.

        Args:
            fraction: share of the budget that is spent, in [0, 1].
            step: student steps so far.
            metrics: scalars by name.
            class_counts: images of each class, for a thumbnail of their balance.
        """
        now = time.monotonic()
        self._first = self._first or (now, fraction, step)
        pace = self._pace(now, fraction, step)
        details = [losses(metrics)] if metrics else []
        if class_counts:
            thumbnail = balance(class_counts, plain=self._console.options.ascii_only)
            details.append(f"classes {thumbnail}")
        if self._live:
            self._live.update(self._bar(fraction, pace, details), refresh=True)
        elif self._is_due(now, fraction):
            self._printed = (now, fraction)
            line = "  ".join([f"{self._title} {100 * fraction:3.0f}%", pace, *details])
            self._console.print(Text(line), soft_wrap=True)

    def _pace(self, now: float, fraction: float, step: int) -> str:
        """Write step, rate and time left; a resumed run measures its own rate anew."""
        start, first_fraction, first_step = self._first or (now, fraction, step)
        elapsed, gained, steps = now - start, fraction - first_fraction, step - first_step
        parts = [f"step {step:,}"]
        if elapsed > 0 and steps > 0:
            parts.append(f"{steps / elapsed:.3g}/s")
        if fraction >= 1:
            parts.append("done")
        elif elapsed > 0 and gained > 0:
            left = duration(elapsed * (1 - fraction) / gained)
            parts.append(f"{left} left")
        # Thin spaces are for the page: not every terminal's encoding has them.
        return "  ".join(parts).replace(NARROW, " ")

    def _bar(self, fraction: float, pace: str, details: Sequence[str]) -> Group:
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=1.0, completed=fraction)
        line.add_row(self._title, bar, f"{100 * fraction:3.0f}%  {pace}")
        below = [Text(text, style="dim", no_wrap=True, overflow="ellipsis") for text in details]
        return Group(line, *below)

    def _is_due(self, now: float, fraction: float) -> bool:
        then, shown = self._printed
        if fraction >= 1:
            return shown < 1
        return now - then >= LINE_SECONDS or fraction - shown >= LINE_SHARE


def losses(metrics: Mapping[str, float]) -> str:
    """Write metrics as ``kl 0.213  agreement 0.948``: names without their group."""
    return "  ".join(f"{name.rsplit('/', 1)[-1]} {v:.3g}" for name, v in metrics.items())


def balance(class_counts: Sequence[int], width: int = 40, plain: bool = False) -> str:
    """Draw one character per class: a block of height 1 to 8, or a dot without images.

    Args:
        class_counts: images of each class; the fullest is the highest block.
        width: more classes share characters (the mean of neighbours).
        plain: write digits, for a console without block characters.
    """
    groups = min(width, len(class_counts))
    edges = [round(i * len(class_counts) / groups) for i in range(groups + 1)]
    heights = [
        sum(class_counts[start:end]) / (end - start) for start, end in itertools.pairwise(edges)
    ]
    top = max(heights)
    signs, none = ("12345678", "0") if plain else (BLOCKS, "·")
    return "".join(signs[math.ceil(8 * h / top) - 1] if h > 0 else none for h in heights)
