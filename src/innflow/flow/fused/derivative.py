"""Gradients of plain layers, for backward passes that are differentiated themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def needs_plain_gradients(grads: Sequence[Tensor]) -> bool:
    """Return whether a backward pass must use `plain_gradients`.

    Hand-written backward passes support only first derivatives, unbatched. Autograd records a
    backward pass for second derivatives (`create_graph=True`), and `torch.func.vmap` and
    `is_grads_batched=True` run it for many gradients at once.
    """
    return (
        torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or any(map(torch._C._functorch.is_legacy_batchedtensor, grads))
    )


def plain_gradients(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Any], grads: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Differentiate a function by autograd, so that the result can be differentiated again.

    Args:
        function: of the inputs, returns tensors.
        inputs: tensors of the graph, as saved by the forward pass, or other values.
        grads: gradients of the outputs.

    Returns:
        The gradient of each input, none where it needs none.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, because gradients must stop at the inputs: one input may be a function of another.
        views = [
            value.view_as(value) if isinstance(value, Tensor) and value.requires_grad else value
            for value in inputs
        ]
        outputs = function(*views)
    wanted = [value for value in views if isinstance(value, Tensor) and value.requires_grad]
    pairs = [pair for pair in zip(outputs, grads, strict=True) if pair[0].requires_grad]
    found = iter(
        torch.autograd.grad(
            [output for output, _ in pairs],
            wanted,
            [grad for _, grad in pairs],
            create_graph=create_graph,
            allow_unused=True,
        )
    )
    return tuple(
        next(found) if isinstance(value, Tensor) and value.requires_grad else None
        for value in views
    )


def as_function(module: nn.Module) -> Callable[..., Any]:
    """Return a module as a function of its inputs, context and parameters.

    Parameters are passed in the order of `module.parameters()`. Modules and tensors may occur in it
    several times.
    """
    places = {parameter: place for place, parameter in enumerate(module.parameters())}
    names = {
        f"{prefix}.{name}": places[parameter]
        for prefix, inner in module.named_modules()
        for name, parameter in inner.named_parameters(recurse=False, remove_duplicate=False)
    }

    def run(inputs: Tensor, context: Tensor | None, *parameters: Tensor) -> Any:
        values = {name.lstrip("."): parameters[place] for name, place in names.items()}
        return functional_call(module, values, (inputs, context), tie_weights=False)

    return run
