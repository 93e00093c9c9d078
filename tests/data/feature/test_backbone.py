"""Features are those of the plain network, whatever makes them fast."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from innflow.data.feature.backbone import Backbone, fold_batch_norm
from innflow.data.feature.network import LITE0, open_network

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def pictures(count: int = 5, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def settle(module: nn.Module) -> None:
    """Give normalisations statistics that are not those of a fresh network."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias, std=0.2)


def saved(module: nn.Module, path) -> str:
    settle(module)
    torch.save(module.state_dict(), path)
    return str(path)


def naive(module: nn.Module, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """One image after the other through the network as its library made it."""
    module.eval()
    with torch.no_grad():
        rows = [
            module((one[None].float() - mean[:, None, None]) / std[:, None, None]) for one in images
        ]
    return torch.cat(rows)


def test_features_of_lite0_are_those_of_the_naive_loop():
    network = open_network(LITE0, 64)
    network.load(None)
    images = pictures(37, 64)  # three batches, the last not full
    expected = naive(network.module, images, network.mean, network.std)
    features = Backbone(LITE0, 64)(images)
    assert features.shape == (37, 1280)
    torch.testing.assert_close(features, expected, **TOLERANCE)


@pytest.mark.parametrize("network", ["mobilenet_v3_small", "timm:resnet10t"])
def test_features_of_other_libraries_are_those_of_the_naive_loop(network, tmp_path):
    source = open_network(network, 32)
    weights = saved(source.module, tmp_path / "weights.pt")
    images = pictures()
    expected = naive(source.module, images, source.mean, source.std)
    backbone = Backbone(network, 32, weights)
    assert backbone.shape == tuple(expected.shape[1:])
    torch.testing.assert_close(backbone(images), expected, **TOLERANCE)


def test_a_layer_gives_its_map_or_the_mean_over_positions(tmp_path):
    plain = models.squeezenet1_0()
    weights = saved(plain, tmp_path / "weights.pt")
    images, mean = pictures(), 255 * torch.tensor([0.485, 0.456, 0.406])
    std = 255 * torch.tensor([0.229, 0.224, 0.225])
    expected = naive(plain.features[:4], images, mean, std)
    maps = Backbone("squeezenet1_0", 32, weights, layer="features.3", spatial=True)
    assert maps.shape == tuple(expected.shape[1:]) == (128, 6, 6)
    torch.testing.assert_close(maps(images), expected, **TOLERANCE)
    vectors = Backbone("squeezenet1_0", 32, weights, layer="features.3")
    assert vectors.shape == (128,)
    torch.testing.assert_close(vectors(images), expected.mean(dim=(2, 3)), **TOLERANCE)


def test_a_convolution_that_is_asked_for_is_not_folded():
    source = open_network(LITE0, 32)
    source.load(None)
    stem = source.module._conv_stem
    images = pictures()
    expected = naive(stem, images, source.mean, source.std)
    backbone = Backbone(LITE0, 32, layer="_conv_stem", spatial=True)
    torch.testing.assert_close(backbone(images), expected, **TOLERANCE)


class Shared(nn.Module):
    """A convolution that a normalisation and a sum both see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.norm, self.after = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.after(self.second(self.norm(x) + x))


def test_only_a_normalisation_that_is_all_a_convolution_feeds_is_folded():
    module = Shared()
    settle(module)
    module.eval()
    x = torch.randn(2, 3, 8, 8)
    folded = copy.deepcopy(module)
    with torch.no_grad():
        assert fold_batch_norm(folded) == 1
        torch.testing.assert_close(folded(x), module(x), **TOLERANCE)
    assert isinstance(folded.norm, nn.BatchNorm2d)
    assert not isinstance(folded.after, nn.BatchNorm2d)


def test_everything_of_lite0_is_folded():
    module = open_network(LITE0, 32).module
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    assert fold_batch_norm(module) == norms == 49
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def test_it_is_folded_below_a_layer_too():
    backbone = Backbone(LITE0, 32, layer="_blocks.4", spatial=True)
    assert backbone.hash
    module = backbone._source.module
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def test_the_number_of_threads_of_the_program_is_left_alone():
    before = torch.get_num_threads()
    Backbone(LITE0, 32)(pictures(2))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"layer": "_blocks.99"}, ["data.layer=_blocks.99 does not exist", "_blocks."]),
        ({"layer": "_swish"}, ["data.layer=_swish", "2 times"]),
        ({"layer": "_fc", "spatial": True}, ["data.layer=_fc gives (1280,)", "(C, H, W)"]),
        ({"spatial": True}, ["data.spatial=true needs data.layer", "_blocks."]),
        ({"network": "vit_b_16"}, ["data.network=vit_b_16", "data.size=32", "224"]),
        ({"network": "squeezenet1_0"}, ["does not end in a linear layer", "features."]),
    ],
)
def test_layers_that_cannot_serve_are_refused(options, fragments, refused):
    with refused(*fragments):
        Backbone(**{"network": LITE0, "size": 32, **options})


def test_images_of_another_size_or_type_are_refused(refused):
    backbone = Backbone(LITE0, 32)
    with refused("(2, 3, 16, 16)", "expected uint8 (N, 3, 32, 32)"):
        backbone(pictures(2, 16))
    with refused("torch.float32"):
        backbone(pictures(2).float())
