"""TorchScript and exported programs: their weights are read, and trusted ones are teachers."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_student, load_teacher
from dfkd.loading.opaque import Opaque
from dfkd.networks import vgg
from dfkd.networks.fingerprint import fingerprint
from support.loading import SMALL, small

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return small().eval()


@pytest.fixture(scope="module")
def files(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    example = IMAGES[:2]
    script = torch.jit.script(network)
    torch.jit.save(script, folder / "scripted.pt")
    torch.jit.save(torch.jit.trace(network, example), folder / "traced.pt")
    torch.jit.save(torch.jit.freeze(script), folder / "frozen.pt")
    torch.export.save(torch.export.export(network, (example,)), folder / "two.pt2")
    free = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(network, (example,), dynamic_shapes=free)
    torch.export.save(exported, folder / "any.pt2")
    return folder


@pytest.mark.parametrize(
    "name",
    ["torchscript:scripted.pt", "torchscript:traced.pt", "torchscript:frozen.pt",
     "export:two.pt2", "export:any.pt2"],
)  # fmt: skip
def test_a_trusted_program_answers_as_its_network(
    name: str, files: Path, network: nn.Module
) -> None:
    kind, _, file = name.partition(":")
    image = None if kind == "export" else "1x8x8"
    teacher = load_teacher(f"{kind}:{files / file}?trust=true", image=image)
    teacher.to("cpu")
    with torch.no_grad():
        expected = network(IMAGES)
    torch.testing.assert_close(teacher(IMAGES), expected)
    images = IMAGES.clone().requires_grad_()
    wanted = IMAGES.clone().requires_grad_()
    (found,) = torch.autograd.grad(teacher(images).square().sum(), images)
    (right,) = torch.autograd.grad(network(wanted).square().sum(), wanted)
    torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-3)
    assert not teacher.layers
    assert "answers alone, without statistics" in teacher.notes[0]
    assert "does not say by what its images are normalised" in teacher.notes[-1]
    assert ("takes 2 images at once" in " ".join(teacher.notes)) == (file == "two.pt2")
    again = load_teacher(f"{kind}:{files / file}", image=image, trust=True)
    assert again.fingerprint() == teacher.fingerprint()
    with pytest.raises(DfkdError, match="cannot be trained"):
        load_student(f"{kind}:{files / file}?trust=true", dfkd.Teacher(network, teacher.spec))


@pytest.mark.parametrize("name", ["torchscript:scripted.pt", "export:two.pt2"])
def test_a_program_is_not_run_without_trust(name: str, files: Path) -> None:
    kind, _, file = name.partition(":")
    with pytest.raises(DfkdError, match=r"is code, which can write files; add \?trust=True"):
        load_teacher(f"{kind}:{files / file}", image="1x8x8")


def test_a_program_is_not_even_opened_without_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(DfkdError, match=r"add \?trust=True"):
        load_teacher(f"torchscript:{tmp_path}/w.pt", image="1x8x8")


@pytest.mark.parametrize("name", ["scripted.pt", "traced.pt", "two.pt2", "any.pt2"])
def test_a_programs_weights_are_read_without_running_it(
    name: str, files: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (torch.jit, torch.export):
        monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("it was run"))
    loaded = load_model(f"{SMALL}&weights={files / name}")
    assert fingerprint(loaded.network) == fingerprint(network)
    assert loaded.notes == ()


def test_frozen_weights_have_no_names(files: Path) -> None:
    with pytest.raises(DfkdError, match=r"frozen TorchScript.*use it whole"):
        load_model(f"{SMALL}&weights={files}/frozen.pt")


@pytest.mark.parametrize("kind", ["torchscript", "export"])
def test_what_is_no_program_is_one_line(kind: str, tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pt")
    with pytest.raises(DfkdError, match="cannot be loaded as a program") as caught:
        load_teacher(f"{kind}:{tmp_path}/w.pt?trust=true", image="1x8x8")
    assert "\n" not in str(caught.value)


def test_programs_show_their_tensors_and_hide_their_modules() -> None:
    inside = vgg((4, 8), 1, 1)
    program = Opaque(inside, 3)
    assert len(list(program.modules())) == 1
    assert not list(program.parameters())
    copied = copy.deepcopy(program)
    with torch.no_grad():
        inside.head.bias += 1  # theirs are the same tensors, the copy's are not
    assert torch.equal(dict(program.named_buffers())["head/bias"], inside.head.bias)
    assert not torch.equal(dict(copied.named_buffers())["head/bias"], inside.head.bias)
    program.double()
    assert inside.head.bias.dtype is torch.float64
    inside.eval()
    images = IMAGES.double()
    torch.testing.assert_close(program(images), inside(images))
    assert program(images[:1]).shape == (1, 10)
