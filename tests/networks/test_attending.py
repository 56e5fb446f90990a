"""Attention is found by what a pass computes: in networks of three packages, and in own ones."""

import pytest
import torch
import torch.nn.functional as F
from timm import create_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer as OtherTransformer

from dfkd.errors import DfkdError
from dfkd.networks.attending import Attentions, attending_layers, may_attend, prefix_tokens
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.tokens import find_cut, pixel_owners
from support.networks import Encoder, HiddenStates, Overlapping

SMALL = {"img_size": 16, "patch_size": 4, "in_chans": 1, "num_classes": 3}
TINY = {"embed_dim": 16, "depth": 2, "num_heads": 2}


def vit(**changed):
    return VisionTransformer(**{**SMALL, **TINY, **changed})


def torchvisions():
    network = OtherTransformer(16, 4, 2, 2, 16, 32, num_classes=3)
    network.conv_proj = nn.Conv2d(1, 16, 4, 4)
    nn.init.normal_(network.heads.head.weight)  # it would be zero
    return network


CUT = {
    "timm": (vit, "blocks", 1),
    "timm, averaged, without a class token": (
        lambda: vit(global_pool="avg", class_token=False), "blocks", 0,
    ),
    "timm, registers": (lambda: vit(reg_tokens=3, no_embed_class=True), "blocks", 4),
    "timm, unfused": (lambda: unfused(vit()), "blocks", 1),
    "torchvision": (torchvisions, "encoder.layers", 1),
    "torch's encoder": (Encoder, "encoder", 0),
    "torch's encoder, tokens first": (lambda: Encoder(batch_first=False), "encoder", 0),
    "torch's encoder, norms behind": (lambda: Encoder(norm_first=False), "encoder", 0),
    "tuples and keywords": (HiddenStates, "layers.0", 1),
}  # fmt: skip
UNCUT = {
    "windows": lambda: create_model(
        "swin_tiny_patch4_window7_224", img_size=56, in_chans=1, embed_dim=16, depths=(2, 2),
        num_heads=(1, 2), num_classes=3,
    ),
    "positions in each block": lambda: create_model(
        "beit_base_patch16_224", **{**SMALL, **TINY, "patch_size": 4}
    ),
    "every token has a place in the head": lambda: Encoder(flat=True),
    "no attention": lambda: models.resnet18(num_classes=3),
    "overlapping patches": Overlapping,
}  # fmt: skip


def unfused(network):
    for block in network.blocks:
        block.attn.fused_attn = False
    return network


def noise(network):
    side = 56 if "Swin" in type(network).__name__ else 16
    channels = 3 if isinstance(network, models.ResNet) else 1
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, side, side, generator=generator)


@pytest.mark.parametrize("name", CUT)
def test_patches_are_cut_where_their_order_is_free(name):
    build, layer, prefix = CUT[name]
    network = build().train()
    before, images = fingerprint(network), noise(network)
    cut = find_cut(network, images)
    owner = pixel_owners(network, images, cut)
    assert (fingerprint(network), network.training) == (before, True)
    assert (cut.layer, cut.prefix, cut.patches) == (network.get_submodule(layer), prefix, 16)
    squares = torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal(owner, squares)


@pytest.mark.parametrize("name", CUT)
def test_all_patches_give_the_full_pass_and_some_leave_no_gradient(name):
    network = CUT[name][0]().eval()
    images = noise(network).requires_grad_()
    cut = find_cut(network, images)
    owner = pixel_owners(network, images, cut)
    full = logits(network(images))
    with cut.only(torch.randperm(16).expand(2, -1)):
        torch.testing.assert_close(logits(network(images)), full, rtol=1e-4, atol=1e-4)
    kept = torch.tensor([[0, 5, 9], [1, 2, 15]])
    with cut.only(kept):
        some = logits(network(images))
    assert not torch.allclose(some, full, atol=1e-3)
    (gradient,) = torch.autograd.grad(some.square().sum(), images)
    shown = torch.stack([torch.isin(owner, row) for row in kept])[:, None]
    assert torch.equal(gradient[~shown], torch.zeros_like(gradient[~shown]))
    assert (gradient[shown] != 0).float().mean() > 0.9
    assert torch.equal(logits(network(images)), full)  # no hook is left behind


def logits(answer):
    return answer if isinstance(answer, torch.Tensor) else answer[0]


@pytest.mark.parametrize("name", UNCUT)
def test_what_cannot_be_cut_is_refused_in_a_line(name):
    network = UNCUT[name]()
    images = noise(network)
    with pytest.raises(DfkdError, match="patches can be left out") as refusal:
        pixel_owners(network, images, find_cut(network, images))
    assert len(str(refusal.value)) <= 300
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "layers"), [("windows", 4), ("positions in each block", 2)])
def test_layers_attend_even_where_nothing_can_be_cut(name, layers):
    network = UNCUT[name]()
    found = attending_layers(network, noise(network))
    assert len(found) == layers
    assert all(call.name.endswith("attn") for call in found)


def test_a_guess_before_the_pass():
    assert may_attend(vit())
    assert may_attend(torchvisions())
    assert not may_attend(models.resnet18(num_classes=3))


@pytest.mark.parametrize("fused", [True, False])
def test_the_class_tokens_attention_is_the_softmax_of_its_products(fused):
    network = vit().eval() if fused else unfused(vit()).eval()
    taken = []
    layer = network.blocks[-1].attn
    layer.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    images = noise(network)
    with Attentions() as seen:
        network(images.requires_grad_())
    queries, keys, _ = layer.qkv(taken[-1]).view(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = F.softmax(queries @ keys.transpose(2, 3) / 8**0.5, dim=3).mean(1)[:, 0]
    assert seen.count == 2
    assert seen.last.tokens == 17
    torch.testing.assert_close(seen.last.of(0, 2), weights)


def test_tokens_that_no_pixel_reaches_come_before_the_patches():
    network = vit(reg_tokens=2)
    call = attending_layers(network, noise(network))[0]
    assert prefix_tokens(call, 2) == [0, 1, 2]
