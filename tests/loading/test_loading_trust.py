"""A file never says what code is run: every route that was found, and how trust opens them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import dfkd
from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_student, load_teacher, save_artefact
from dfkd.loading.exits import factory_of
from dfkd.loading.known import EXITS_FACTORY as EXITS
from dfkd.loading.sources import rebuild
from dfkd.networks import vgg
from dfkd.networks.early_exits import EarlyExits
from dfkd.networks.fingerprint import fingerprint
from support.commands import ASSETS
from support.loading import SPEC, small, write_factories

VGG = {"widths": [4, 8], "convolutions": 1, "in_channels": 1}
BODY = {"_code": "\ndef forward(self, x): return x\n"}
HARM = "import pathlib\npathlib.Path('harm').touch()\n"


def describe(folder: Path, factory: Any, keywords: Any, **facts: Any) -> str:
    """A student whose metadata somebody else wrote; its URI."""
    facts = {"factory": factory, "keywords": keywords, "spec": None, "class_names": None, **facts}
    metadata = {"dfkd": json.dumps(facts)}
    save_file(small().state_dict(), folder / "student.safetensors", metadata=metadata)
    return f"run:{folder}"


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory from somewhere, with code in it, which the user has gone into."""
    (tmp_path / "evil.py").write_text(HARM + "from torch import nn\nmake = nn.Identity\n")
    for name in ("evil_parent", "evil_mod.py"):
        (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).write_text(HARM)
    (tmp_path / "evil_parent" / "__init__.py").write_text(HARM)
    (tmp_path / "evil_parent" / "child.py").write_text("make = print\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROUTES = {
    "fx graph": ("torch.fx.graph_module:reduce_graph_module", {"body": BODY, "import_block": HARM}),
    "file beside the run": ("evil.py:make", {}),
    "file by its whole path": ("{folder}/evil.py:make", {}),
    "file of Python": (os.__file__ + ":popen", {"cmd": "touch harm"}),
    "module in the cwd": ("evil_mod:make", {}),
    "package in the cwd": ("evil_parent.child:make", {}),
    "parent of nothing": ("evil_parent.nothing:make", {}),
    "test.autotest": ("test.autotest:x", {}),
    "unittest main": ("unittest.__main__:x", {}),
    "this": ("this:x", {}),
    "antigravity": ("antigravity:fly", {}),
    "os": ("os:system", {"command": "touch harm"}),
    "subprocess": ("subprocess:run", {"args": ["touch", "harm"]}),
    "torch.hub": ("torch.hub:load", {"repo_or_dir": ".", "model": "make", "source": "local"}),
    "torch.jit": ("torch.jit:load", {"f": "student.safetensors"}),
    "torch.load": ("torch:load", {"f": "x", "weights_only": False}),
    "any class of torch": ("torch.nn:Identity", {}),
    "get_model": ("torchvision.models:get_model", {"name": "resnet18", "weights": "DEFAULT"}),
    "a builder of torchvision": ("torchvision.models:resnet18", {"weights": "DEFAULT"}),
    "torchvision weights": ("torchvision:resnet18", {"weights": "DEFAULT"}),
    "torchvision pretrained": ("torchvision:resnet18", {"pretrained": True}),
    "torchvision progress": ("torchvision:resnet18", {"progress": True}),
    "torchvision query": ("torchvision:resnet18?weights=DEFAULT", {}),
    "torchvision detector": ("torchvision:fasterrcnn_resnet50_fpn", {"weights_backbone": "x"}),
    "timm pretrained": ("timm:resnet10t", {"pretrained": True}),
    "timm checkpoint": ("timm:resnet10t", {"checkpoint_path": "evil.pth"}),
    "timm overlay": ("timm:resnet10t", {"pretrained_cfg_overlay": {"file": "evil.pth"}}),
    "timm configuration": ("timm:resnet10t", {"pretrained_cfg": {"url": "http://127.0.0.1/x"}}),
    "timm cache": ("timm:resnet10t", {"cache_dir": "harm"}),
    "timm features": ("timm:resnet10t", {"features_only": True}),
    "timm hub": ("timm:hf-hub:timm/resnet10t", {}),
    "timm folder": ("timm:local-dir:evil", {}),
    "timm itself": ("timm:create_model", {"model_name": "resnet10t", "pretrained": True}),
    "timm by module": ("timm:resnet10t/../x", {}),
    "timm function": ("timm.models:create_model", {"model_name": "hf-hub:a/b"}),
    "ours, another function": ("dfkd.networks:initialise", {"module": None, "seed": 0}),
    "ours, what it imports": ("dfkd.networks:nn", {}),
    "ours, through a command": ("dfkd.cli:main", {"words": ["demo"]}),
    "dots in the function": ("dfkd.networks:F.os", {}),
    "dots in the module": ("dfkd.networks.F:relu", {}),
    "another run": ("run:.", {}),
    "inside exits": (
        EXITS,
        {"factory": "evil.py:make", "keywords": {}, "shape": [1, 8, 8], "num_classes": 10},
    ),
    "exits that say they are trusted": (
        EXITS,
        {
            "factory": "evil.py:make",
            "keywords": {},
            "shape": [1, 8, 8],
            "num_classes": 10,
            "trust": True,
        },
    ),
    "exits in exits": (
        EXITS,
        {
            "factory": EXITS,
            "keywords": {"factory": "evil_mod:make", "keywords": {}, "shape": [1, 8, 8],
                         "num_classes": 10},
            "shape": [1, 8, 8],
            "num_classes": 10,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_a_file_runs_no_code_and_loads_nothing(route: str, downloaded: Path) -> None:
    factory, keywords = ROUTES[route]
    uri = describe(downloaded, factory.format(folder=downloaded), keywords)
    __import__("timm")
    before = set(sys.modules)
    files = sorted(downloaded.rglob("*"))
    # Refused before it is tried: a download that fails would be an error as well.
    refusal = "if you trust that|which is no MODEL|which builds nothing"
    with pytest.raises(DfkdError, match=refusal) as caught:
        load_model(uri)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert sorted(downloaded.rglob("*")) == files
    named = {factory.partition(":")[0], factory.partition(".")[0]} - {"torchvision", "torch", "os"}
    assert not (set(sys.modules) - before) & {*named, "evil", "evil_mod", "webbrowser"}


def test_the_refusal_says_how_to_go_on(downloaded: Path) -> None:
    uri = describe(downloaded, "evil.py:make", {})
    with pytest.raises(DfkdError, match=r"add \?trust=True to run:DIR.*FACTORY\?weights=FILE"):
        load_model(uri)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"factory": 5}, "of another type"),
        ({"factory": ["a:b"]}, "of another type"),
        ({"keywords": [1]}, "of another type"),
        ({"keywords": "x"}, "of another type"),
        ({"factory": "no MODEL"}, "which is no MODEL"),
        ({"factory": "x" * 100_000}, "which is no MODEL"),
        ({"keywords": {"depth": {"literal": "-" * 3000 + "1"}}}, "is damaged|not plain"),
        ({"keywords": {"depth": {"literal": "(" * 90_000}}}, "is damaged"),
        ({"keywords": {"depth": {"literal": "-" * 90_000 + "1"}}}, "is damaged"),
        ({"keywords": {"depth": {"literal": "1" * 500_000}}}, "is damaged"),
        ({"keywords": {"depth": {"literal": 5}}}, "is damaged"),
        ({"keywords": {"depth": {"literal": "b'x'"}}}, "not plain"),
        ({"keywords": {"depth": {"literal": "1j"}}}, "not plain"),
        ({"keywords": {"depth": {"literal": "{1, 2}"}}}, "not plain"),
        ({"keywords": {"depth": 10**12}}, "too large"),
        ({"keywords": {"widths": [[[[[[[[[1]]]]]]]]]}}, "not plain"),
        ({"keywords": {"blocks": [900_000, 1, 1]}}, "far less than the network"),
        ({"keywords": {"widths": [900_000, 1, 1]}}, "far less than the network"),
        ({"factory": "dfkd.networks:vgg", "keywords": {"convolutions": 10**6}}, "far less than"),
        ({"factory": "dfkd.networks:bilstm", "keywords": {"hidden": 10**6}}, "far less than"),
        ({"factory": "torchvision:vit_b_16", "keywords": {"image_size": 160_000}}, "far less than"),
        ({"factory": "dfkd.networks:bilstm", "keywords": {"hidden": "x"}}, "fails when it is"),
        ({"factory": "dfkd.networks:resnet", "keywords": {"deep": 2}}, "does not shape it"),
        ({"spec": {"channels": 10**12, "height": 1, "width": 1}}, "values each"),
        ({"spec": {"channels": 1, "height": 1.5, "width": 1}}, "whole positive"),
        ({"spec": {"channels": True, "height": 1, "width": 1}}, "whole positive"),
        ({"spec": {"channels": 1, "height": 10**5, "width": 10**5}}, "values each"),
        ({"spec": {"channels": 1, "height": "8", "width": 1}}, "whole positive"),
        ({"spec": {"channels": 1, "height": 8, "width": 8, "mean": ["x"]}}, "is damaged"),
        ({"spec": {"channels": 1, "height": 8, "width": 8, "mean": [0] * 10**5}}, "is damaged"),
        ({"spec": {"channels": 1, "height": 8, "width": 8, "crop": 2}}, "is damaged"),
        ({"spec": [1, 8, 8]}, "is damaged"),
        ({"class_names": 5}, "no list of words"),
        ({"class_names": [1, 2]}, "no list of words"),
        ({"class_names": {"a": 1}}, "no list of words"),
        ([], "is damaged"),
        ("text", "is damaged"),
        (None, "is damaged"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)  # fmt: skip
def test_malformed_metadata_is_one_line(metadata: Any, reason: str, tmp_path: Path) -> None:
    if isinstance(metadata, dict):
        metadata = {"factory": "dfkd.networks:resnet", "keywords": {}} | metadata
    text = json.dumps(metadata)
    state = small().state_dict()
    save_file(state, tmp_path / "student.safetensors", metadata={"dfkd": text})
    with pytest.raises(DfkdError, match=reason) as caught:
        load_model(f"run:{tmp_path}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", '{"keywords": ' * 5_000, "9" * 5_000, " " * 20_000_000]
)
def test_json_that_no_parser_takes_is_one_line(text: str, tmp_path: Path) -> None:
    save_file(small().state_dict(), tmp_path / "student.safetensors", metadata={"dfkd": text})
    with pytest.raises(DfkdError, match="is damaged"):
        load_model(f"run:{tmp_path}")


# What goes on working


@pytest.mark.parametrize(
    "uri",
    [
        "dfkd.networks:vgg?widths=(4,8)&convolutions=1&in_channels=1",
        "dfkd.networks:resnet?widths=(4,4,4)&blocks=(1,1,1)",
        "dfkd.networks:bilstm?hidden=4&channels=8",
        "torchvision:squeezenet1_1?num_classes=4&dropout=0.1",
        "torchvision:mobilenet_v3_small?num_classes=4&width_mult=0.25&progress=False",
        "timm:resnet10t?num_classes=4&in_chans=1&act_layer=gelu&pretrained=False",
        "timm:efficientvit_m0?num_classes=4",
        "timm:vit_tiny_patch16_224?img_size=32&num_classes=4&depth=2",
    ],
)
def test_students_of_the_table_need_no_trust(uri: str, tmp_path: Path) -> None:
    made = load_model(uri)
    path = tmp_path / "student.safetensors"
    save_artefact(path, made.network, made.factory, made.keywords, SPEC, "abcd")
    again = load_model(f"run:{tmp_path}")
    assert fingerprint(again.network) == fingerprint(made.network)
    assert not any(tensor.is_meta for tensor in again.network.state_dict().values())


def test_a_students_own_file_is_run_where_it_is_trusted(tmp_path: Path) -> None:
    folder = write_factories(tmp_path)
    made = load_model(f"{folder}/own.py:make?num_classes=4")
    path = folder / "student.safetensors"
    save_artefact(path, made.network, made.factory, made.keywords, SPEC, "abcd")
    run = f"run:{folder}"
    for untrusted in (run, f"{run}?trust=False"):
        with pytest.raises(DfkdError, match="if you trust"):
            load_model(untrusted)
    spec = dfkd.ImageSpec(1, 8, 8)
    teacher = dfkd.Teacher(vgg((4, 8), 1, 1, 4), spec)
    for network in (
        load_model(f"{run}?trust=True").network,
        load_model(run, trust=True).network,
        load_teacher(run, trust=True).network,
        load_teacher(f"{run}?trust=True").network,
        load_student(run, teacher, trust=True),
        load_model(f"{folder}/own.py:make?num_classes=4&weights={path}").network,
    ):
        assert fingerprint(network) == fingerprint(made.network)
    for wrong in ("1", "yes", "'True'"):
        with pytest.raises(DfkdError, match="True or False"):
            load_model(f"{run}?trust={wrong}")
    with pytest.raises(DfkdError, match="takes no 'depth'"):
        load_model(f"{run}?trust=True&depth=3")
    with pytest.raises(DfkdError, match="takes no 'trust'"):
        load_model("bundled:digits_vgg?trust=True")


def test_trust_in_kept_exits_is_trust_in_what_has_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from dfkd.networks import vgg\n\nbuild = vgg\n")
    for factory, trust in (("dfkd.networks:vgg", False), (f"{tmp_path}/mine.py:build", True)):
        network = EarlyExits(vgg((4, 8), 1, 1, 4), (1, 8, 8), 4)
        named = factory_of(network, factory, {**VGG, "num_classes": 4})
        save_artefact(tmp_path / "student.safetensors", network, *named, SPEC, "abcd")
        again = load_model(f"run:{tmp_path}", trust=trust)
        assert fingerprint(again.network) == fingerprint(network)
        assert again.keywords.keys() == named[1].keys()  # whom to trust is no part of a file
        if trust:
            with pytest.raises(DfkdError, match="no network of dfkd"):
                load_model(f"run:{tmp_path}")


def test_bundled_teachers_are_built_from_the_table() -> None:
    for path in ASSETS.glob("*.safetensors"):
        assert load_model(f"bundled:{path.stem}").network


def test_a_network_is_not_counted_once_it_is_built() -> None:
    network = rebuild("dfkd.networks:vgg", VGG, "a file")
    assert network.state_dict().keys() == small().state_dict().keys()
    assert torch.nn.Linear(3000, 3000).weight.numel() == 9_000_000
