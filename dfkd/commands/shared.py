"""What several commands need: the teacher that words describe, where and what to print."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from dfkd import cli
from dfkd.errors import DfkdError
from dfkd.loading import load_teacher
from dfkd.teacher import Teacher


def teacher_of(uri: str, facts: cli.ImageFacts) -> Teacher:
    """The teacher behind a MODEL URI; ``facts`` go over what its source says."""
    names: Sequence[str] | None = None
    if facts.class_names:
        try:
            names = facts.class_names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DfkdError(f"--class-names {facts.class_names} cannot be read ({error})") from None
    return load_teacher(uri, image=facts.image, mean=facts.mean, std=facts.std, class_names=names)


def console() -> Console:
    """Standard output, as plain as its receiver wants it."""
    return Console(highlight=False)


def tell_compiled(decision: Mapping[str, Any]) -> None:
    """Whether the teacher's pass was compiled, and why (not)."""
    print(f"teacher {'compiled' if decision['used'] else 'not compiled'}: {decision['reason']}")
