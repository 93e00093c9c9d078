"""Types of settings within bounds; `innflow.config.schema.check` refuses values outside of them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(gt=0)]
Several = Annotated[int, Field(ge=2)]
Many = Annotated[int, Field(ge=10)]
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sizes = Annotated[Sequence[Positive], Field(min_length=1)]

LIBRARIES = {
    "pytorch_lightning.Trainer": {
        "gradient_clip_val": Finite | None,
        "accumulate_grad_batches": Positive,
        "log_every_n_steps": NonNegative,
    }
}
"""Types of arguments of other libraries, where their own annotations allow values that fail."""
