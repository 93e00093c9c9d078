"""Coupling networks for images, of which all but `ImageMLP` are convolutional.

They map an image (B, `inputs`, H, W) and a vector (B, `context`) to an image (B, `outputs`, H, W).
Their last layer is 0 at first.
"""

import torch
from torch import Tensor, nn

from innflow.flow.network.base import append_context, need_context, need_sizes, zero
from innflow.flow.network.mlp import MLP


class ConvNet(nn.Module):
    """3x3, 1x1 and 3x3 convolutions on images, the network of Glow (arXiv:1807.03039).

    A context vector enters as constant channels.

    Args:
        inputs: channels of the image that is read.
        outputs: channels of the image that is returned.
        context: number of context features.
        hidden: channels of both hidden layers.
        activation: class of the nonlinearity.

    Example:
        >>> ConvNet(3, 6)(torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 64,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        need_sizes("conv", hidden=hidden)
        self.context = context
        self.layers = nn.Sequential(
            nn.Conv2d(inputs + context, hidden, 3, padding=1),
            activation(),
            nn.Conv2d(hidden, hidden, 1),
            activation(),
            zero(nn.Conv2d(hidden, outputs, 3, padding=1)),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        return self.layers(append_context(x, context, self.context, "conv"))


class ResNet(nn.Module):
    """A residual network of 3x3 convolutions, each after its activation (He et al., 1603.05027).

    A context vector enters as constant channels.

    Args:
        hidden: channels of every block.
        blocks: number of residual blocks, two convolutions each.
        activation: class of the nonlinearity.

    Example:
        >>> ResNet(3, 6)(torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 64,
        blocks: int = 2,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        need_sizes("resnet", hidden=hidden, blocks=blocks)
        self.context = context
        self.first = nn.Conv2d(inputs + context, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                activation(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                activation(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(activation(), zero(nn.Conv2d(hidden, outputs, 3, padding=1)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        h = self.first(append_context(x, context, self.context, "resnet"))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class GatedNet(nn.Module):
    """3x3 convolutions with gated updates h + tanh(a) * sigmoid(b), as in highway networks.

    After Srivastava et al., arXiv:1505.00387. A context vector enters as constant channels.

    Args:
        hidden: channels of every layer.
        layers: number of gated layers.

    Example:
        >>> GatedNet(3, 6)(torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self, inputs: int, outputs: int, context: int = 0, hidden: int = 64, layers: int = 3
    ) -> None:
        super().__init__()
        need_sizes("gated", hidden=hidden, layers=layers)
        self.context = context
        self.first = nn.Conv2d(inputs + context, hidden, 3, padding=1)
        self.gated = nn.ModuleList(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1) for _ in range(layers)
        )
        self.last = zero(nn.Conv2d(hidden, outputs, 3, padding=1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        h = self.first(append_context(x, context, self.context, "gated"))
        for layer in self.gated:
            update, gate = layer(h).chunk(2, dim=1)
            h = h + torch.tanh(update) * torch.sigmoid(gate)
        return self.last(h)


HALVINGS = 2
"""Number of times that the autoencoder halves the sides of the image."""


class Autoencoder(nn.Module):
    """A convolutional autoencoder with a bottleneck vector.

    All information from the conditioning pixels passes through `bottleneck` numbers, so that the
    coupling cannot copy neighbouring pixels (Kirichenko et al., arXiv:2006.08545): the Jacobian of
    the outputs with respect to the inputs has rank at most `bottleneck`. A context vector is
    appended to the bottleneck.

    Args:
        hidden: channels at full size; doubled with every halving of the image.
        bottleneck: size of the bottleneck vector.
        activation: class of the nonlinearity.
        size: (H, W) of the image; any.

    Example:
        >>> Autoencoder(3, 6, size=(8, 8))(torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 32,
        bottleneck: int = 32,
        activation: type[nn.Module] = nn.SiLU,
        *,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        height, width = size
        need_sizes("autoencoder", hidden=hidden, bottleneck=bottleneck, height=height, width=width)
        self.context = context
        down: list[nn.Module] = [nn.Conv2d(inputs, hidden, 3, padding=1), activation()]
        up: list[nn.Module] = [zero(nn.Conv2d(hidden, outputs, 3, padding=1))]
        channels = hidden
        for _ in range(HALVINGS):
            # A halved side is rounded up; the transposed one restores an even one.
            even = (1 - height % 2, 1 - width % 2)
            down += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), activation()]
            grow = nn.ConvTranspose2d(
                2 * channels, channels, 3, stride=2, padding=1, output_padding=even
            )
            up = [grow, activation(), *up]
            channels, height, width = 2 * channels, (height + 1) // 2, (width + 1) // 2
        inner = (channels, height, width)
        features = channels * height * width
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, bottleneck))
        self.decoder = nn.Sequential(
            nn.Linear(bottleneck + context, features), activation(), nn.Unflatten(1, inner), *up
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        need_context(context, self.context, "autoencoder")
        code = self.encoder(x)
        return self.decoder(code if context is None else torch.cat((code, context), dim=1))


class ImageMLP(nn.Module):
    """An MLP on the flattened image.

    Args:
        hidden: width of every hidden layer.
        layers: number of hidden layers.
        activation: class of the nonlinearity.
        size: (H, W) of the image.

    Example:
        >>> ImageMLP(3, 6, size=(8, 8))(torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 512,
        layers: int = 2,
        activation: type[nn.Module] = nn.SiLU,
        *,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        height, width = size
        need_sizes("dense", hidden=hidden, layers=layers, height=height, width=width)
        pixels = height * width
        widths = (hidden,) * layers
        self.mlp = MLP(inputs * pixels, outputs * pixels, context, widths, activation)
        self.shape = (outputs, height, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        return self.mlp(x.flatten(1), context).unflatten(1, self.shape)
