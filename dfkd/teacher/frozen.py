"""A foreign network, frozen for as long as it is worked with, and given back as it came."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from dfkd.errors import DfkdError
from dfkd.networks.fingerprint import check_untouched, digests, fingerprint
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import named_layers, unwrap
from dfkd.networks.modes import set_learning, set_mode, without_cudnn_rnn
from dfkd.networks.readiness import materialise, own_type, take_float32
from dfkd.networks.surroundings import check_has_weights, check_module
from dfkd.teacher.holding import RESTLESS, is_held, let_go
from dfkd.teacher.layout import Layout, Sign, fitted, lay_out, settle
from dfkd.teacher.spec import ImageSpec, check_asked
from dfkd.teacher.trial import check_finite, first_pass


class FrozenNetwork:
    """An ``nn.Module`` in eval mode whose parameters take no gradient.

    ``restore`` gives it back as it came. Parameters and buffers are bit-identical after any use
    (``fingerprint`` proves it).

    Args:
        network: normalised samples -> whatever it answers.
        spec: the samples it expects, before normalisation.

    Attributes:
        autocast: the context that its passes are to run in; the caller opens it.
        held: why it is held in eval mode (``dfkd.teacher.holding``), neither folded nor compiled
            nor recomputed; "" for any other.
        before_pass: called before each pass: whoever works with it for long can be seen at work
            there, and stopped.
        layout: in which order it keeps its weights, once ``to`` has tried.

    Raises:
        DfkdError: no module, or no such samples.
    """

    def __init__(self, network: nn.Module, spec: ImageSpec) -> None:
        check_module(network, "the teacher")
        if not callable(getattr(spec, "normalize", None)):
            raise DfkdError(
                f"`spec` is a {type(spec).__name__} and says which samples the teacher takes: "
                "dfkd.ImageSpec(channels, height, width)"
            )
        self.network, self.spec = network, spec
        materialise(network, spec.normalize(spec.example(TRIAL, self.device)), "the teacher")
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.before_pass: Callable[[], None] = lambda: None
        # What torch.compile made does not see hooks that are opened later: trace the original.
        self._hookable: nn.Module = unwrap(network)
        self._modes = {module: module.training for module in network.modules()}
        self._gradients = {p: p.requires_grad for p in network.parameters()}
        self._modules = tuple(network.modules())
        self._sign = Sign(network)
        self._named = named_layers(network)
        # Another teacher may hold it, or a part of it, already: that one lets it go.
        self.held = RESTLESS if any(map(is_held, self._modules)) else ""
        self._holds = False
        self.layout: Layout | None = None
        self._accepted: int | None = None
        self._casts = take_float32(network)

    @torch.no_grad()
    def _trial(self) -> object:
        """What the network says of two grey images; it is held in eval mode where it must be."""
        check_finite(self.network)
        images = self.spec.example(TRIAL, self.device)
        with self._calling(images):
            self.network.eval()
            restless = any(module.training for module in self._modules)
            self.freeze()
        self.before_pass()
        raw, self._holds = first_pass(
            self.network, lambda: self._answer(self.network, images), restless
        )
        self.held = RESTLESS if self._holds else self.held
        self._accepted = len(images)
        return raw

    def freeze(self) -> None:
        """Eval mode, no parameter gradients; called by the constructor."""
        set_mode(self.network, False)
        set_learning(self.network, False)

    def restore(self) -> nn.Module:
        """Give back the module with the modes and ``requires_grad`` flags it came with."""
        if self._holds:
            let_go(self._modules)
        if self._casts is not None:
            self._casts.remove()
        for module, training in self._modes.items():
            module.training = training
        for parameter, requires_grad in self._gradients.items():
            parameter.requires_grad_(requires_grad)
        return self.network

    def _answer(self, network: nn.Module, images: Tensor) -> Any:
        check_asked(self.spec, images)
        if any(module.training for module in self._modules):
            self.freeze()  # somebody called .train() on a shared module: buffers would move
        with (
            self._calling(images),
            without_cudnn_rnn(self._modules) if torch.is_grad_enabled() else nullcontext(),
        ):
            return network(fitted(self.spec.normalize(images), self._sign.order()))

    def _calling(self, images: Tensor) -> AbstractContextManager[None]:
        return calling("the teacher", images.shape, known=self._accepted, resize="set `image`")

    def to(self, device: torch.device | str) -> Self:
        """Move the network, in place; channels_last where it runs so (``dfkd.teacher.layout``)."""
        check_has_weights(self.network, "the teacher", device)
        if torch.device(device).type == "mps" and own_type(self.network) is torch.float64:
            raise DfkdError("the teacher is of float64, which mps has not: call .float() on it")
        if self.layout is None:
            self.layout = settle(self.network, self.spec, device, modes=(False,))
        else:
            self.network.to(device)
            lay_out(self._hookable, channels_last=self.layout.channels_last)
        return self

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter or buffer lives."""
        tensors = (*self.network.parameters(), *self.network.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def fingerprint(self) -> str:
        """Hash every parameter and buffer with its name (SHA-256): equal before and after a run."""
        return fingerprint(self.network)

    def digests(self) -> dict[str, str]:
        """Hash each of them by name, for ``check_untouched``."""
        return digests(self.network)

    def check_untouched(self, before: Mapping[str, str]) -> None:
        """Raise where something is no longer as it was when ``digests`` gave ``before``.

        Raises:
            DfkdError: names the first tensor that differs.
        """
        check_untouched(before, self.network)
