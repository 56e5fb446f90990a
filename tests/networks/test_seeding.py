"""Drawing from a seed changes what is drawn inside, and nothing else."""

import torch

from dfkd.networks.seeding import seeded


def test_what_is_drawn_comes_from_the_seed_and_all_else_goes_on(monkeypatch):
    def touched(seed):
        raise AssertionError("an accelerator's generator was set")

    torch.manual_seed(1)
    torch.rand(3)
    undisturbed = torch.rand(3)
    torch.manual_seed(1)
    torch.rand(3)
    # Even without a GPU ``torch.manual_seed`` would leave a seed for it.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    with seeded(7):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), undisturbed)
    with seeded(7):
        assert torch.equal(torch.rand(3), inside)
