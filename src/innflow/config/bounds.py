"""Types of settings within bounds; `innflow.config.schema.check` refuses values outside of them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(gt=0)]
Several = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(gt=0, lt=1)]
Sizes = Annotated[Sequence[Positive], Field(min_length=1)]
