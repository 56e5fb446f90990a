"""Training and eval modes, and context managers that restore a network's state."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


def set_mode(network: nn.Module, training: bool) -> None:
    """Set training mode, or eval mode of every module, whatever a foreign ``train`` does.

    The return values of foreign ``train`` and ``eval`` are ignored: often they are None.
    """
    if training:
        network.train()
        return
    network.eval()
    for module in network.modules():
        module.training = False


def set_learning(network: nn.Module, learning: bool) -> None:
    """Let every parameter take gradients, or none."""
    for parameter in network.parameters():
        parameter.requires_grad_(learning)


def keep_inputs(network: nn.Module) -> None:
    """Let no activation module of ``network`` overwrite what a tap has read before it."""
    for module in network.modules():
        layer: Any = module
        if getattr(module, "inplace", False) is True:
            layer.inplace = False


@contextmanager
def eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Set eval mode while the block runs; restore every module's own mode afterwards."""
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            set_mode(network, False)
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def without_cudnn_rnn(modules: Iterable[nn.Module]) -> AbstractContextManager[Any]:
    """Switch cuDNN off where ``modules`` are recurrent, for gradients in eval mode.

    cuDNN's recurrent layers have no backward pass there; torch's own, which step in, have one.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in modules)
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()


@contextmanager
def frozen(student: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Freeze parameters and buffers while the block runs; restore the network afterwards.

    Without parameter gradients a loss that is differentiated *through* the student leaves
    nothing in its ``.grad``.

    Args:
        student: any network.
        training: train mode (DFAD, ZSKT) instead of eval mode: batch-norms normalise by the batch,
            and do not track it; what has running statistics and no such switch stays in eval mode.
    """
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    # ``eval_mode`` puts back the modes, whatever they are inside.
    with eval_mode(student), without_cudnn_rnn(student.modules()):
        tracking = _watch(student, training)
        try:
            yield
        finally:
            for layer, mean, var in tracking:
                layer.track_running_stats, layer.running_mean, layer.running_var = True, mean, var
            for parameter in learning:
                parameter.requires_grad_(True)


def _watch(student: nn.Module, training: bool) -> list[tuple[Any, Any, Any]]:
    """Set modes and flags; returns the layers that no longer track, with what they had."""
    set_mode(student, training)
    set_learning(student, False)
    switched: list[tuple[Any, Any, Any]] = []
    for module in student.modules() if training else ():
        layer: Any = module
        if getattr(layer, "running_mean", None) is None:
            continue
        if getattr(layer, "track_running_stats", False):
            switched.append((layer, layer.running_mean, layer.running_var))
            # An instance norm moves what it has whether it tracks or not: for a while it has none.
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
        else:
            layer.eval()
    return switched
