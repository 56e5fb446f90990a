"""Networks of which one of several answers is meant: ``?answer=1``, ``?answer=scores``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.loading.known import ANSWER_FACTORY
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.sources import rebuild
from dfkd.tasks.answers import answer_at
from dfkd.tasks.words import shown

ANSWER = "answer"
"""Keyword of a MODEL URI that no factory gets."""


class OneAnswer(nn.Module):
    """Asks the network inside, and hands on one of the values that it returns.

    ``module`` is a wrapper's prefix, so that layers keep the names they are known by.

    Args:
        module: samples -> several values.
        place: of one among them, counted from 0, or its name.
    """

    def __init__(self, module: nn.Module, place: int | str) -> None:
        super().__init__()
        self.module, self.place = module, place

    def forward(self, inputs: Tensor) -> Any:
        """Return the value."""
        return answer_at(self.module(inputs), self.place)


def with_one_answer(
    factory: str, keywords: Mapping[str, Any], answer: int | str, trust: bool = False
) -> nn.Module:
    """Rebuild a network of which one answer is meant: the factory of such a ``run:DIR``.

    Args:
        factory: builds the network, a MODEL URI without its query.
        keywords: of that factory.
        answer: see ``OneAnswer``.
        trust: whether the user trusts who named ``factory``, see ``dfkd.loading.sources.rebuild``.
    """
    return OneAnswer(rebuild(factory, dict(keywords), ANSWER_FACTORY, trust), answer)


def take_answer(loaded: LoadedModel, place: Any) -> LoadedModel:
    """Return the model of one of the answers that a loaded one gives.

    Args:
        loaded: as its URI says without ``answer``.
        place: see ``OneAnswer``.

    Raises:
        DfkdError: neither a number from 0 on nor a name.
    """
    number = isinstance(place, int) and not isinstance(place, bool) and place >= 0
    if not number and not (isinstance(place, str) and place):
        raise DfkdError(
            f"`answer={shown(str(place), 40)}` is to say which of the values that a network "
            "returns is meant: a number from 0 on, or the name of a field"
        )
    said = f"of what the network returns, `answer={shown(str(place), 40)}` is taken for its logits"
    found = replace(loaded, network=OneAnswer(loaded.network, place), notes=(*loaded.notes, said))
    if loaded.factory is None:
        return found
    inner = {"factory": loaded.factory, "keywords": dict(loaded.keywords), ANSWER: place}
    return replace(found, factory=ANSWER_FACTORY, keywords=inner)
