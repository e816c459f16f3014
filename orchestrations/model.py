"""What all models of catalog files share: strictness, and how a validator refuses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class CatalogModel(BaseModel):
    """A model that knows no key but its own and never guesses a type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


def refusal(reason: str, key: str = "") -> PydanticCustomError:
    """Return the error of a validator.

    Args:
        reason: what to write instead, as the end of `<file>:<line> <key>: `.
        key: the key to name when the validator looks at the whole file.
    """
    return PydanticCustomError("catalog", "{reason}", {"reason": reason, "key": key})
