"""Contribution of each pixel, or of each position of a map, to the log-density of an image."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from innflow.errors import InnflowError
from innflow.flow import CouplingFlow, Orthogonal
from innflow.flow.inspect import latent_layout, trace


def why_no_map(flow: CouplingFlow) -> str:
    """Return why the flow has no anomaly maps; empty if it has.

    Example:
        >>> from innflow.flow import vector
        >>> why_no_map(vector(2))
        'anomaly maps: need images or maps of features, the data have shape (2,)'
    """
    if len(flow.shape) != 3:
        return f"anomaly maps: need images or maps of features, the data have shape {flow.shape}"
    if any(isinstance(module, Orthogonal) for module in flow.modules()):
        return (
            "anomaly maps: this model mixes all pixels, so that its latents have no position: "
            "choose another one, such as model=glow"
        )
    return ""


def likelihood_map(flow: CouplingFlow, x: Tensor) -> Tensor:
    """Return the contribution of each position to -log p of images, (B, H, W) in nats.

    The latents are standard normal. Those of a position contribute -log N(z; 0, 1), and the
    log-slopes of the couplings there are subtracted. The log-determinants of all other layers do
    not depend on x and are divided equally. So the sum over positions is -log p(x). After a squeeze
    the pixels of a block share their contributions, as 1x1 convolutions mix them.

    Args:
        flow: a flow whose layers keep positions.
        x: images (B, C, H, W) in the units of the flow.

    Raises:
        InnflowError: as `why_no_map`.

    Example:
        >>> from innflow.flow import glow
        >>> likelihood_map(glow((1, 4, 4), levels=1, depth=1), torch.randn(5, 1, 4, 4)).shape
        torch.Size([5, 4, 4])
    """
    if reason := why_no_map(flow):
        raise InnflowError(reason)
    latent, logabsdet = flow(x)
    energy = -torch.distributions.Normal(0.0, 1.0).log_prob(latent)
    slopes = [torch.zeros_like(x[:, 0]) for _ in flow.levels]
    for traced in trace(flow, x):
        slopes[traced.level] = slopes[traced.level] + traced.log_scale.sum(dim=1)
    found = torch.zeros_like(x[:, 0])
    start = 0
    for slope, shape in zip(slopes, flow.latent_shapes, strict=True):
        stop = start + torch.Size(shape).numel()
        own = torch.zeros_like(energy)
        own[:, start:stop] = energy[:, start:stop]
        values = latent_layout(flow, own).sum(dim=1) - slope
        found = found + (_share_blocks(values, shape[1:]) if len(shape) == 3 else values)
        start = stop
    constant = logabsdet - torch.stack(slopes).sum(dim=(0, 2, 3))
    return found - constant[:, None, None] / found[0].numel()


def _share_blocks(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the means of values (B, H, W) over the block of pixels of each cell of a grid."""
    blocks = (values.shape[1] // grid[0], values.shape[2] // grid[1])
    means = avg_pool2d(values[:, None], blocks)[:, 0]
    return means.repeat_interleave(blocks[0], dim=1).repeat_interleave(blocks[1], dim=2)
