"""What all groups of settings are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of names that folders get."""
LONGEST_NAME = 100
"""Characters of such a name: file systems take 255 bytes."""
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""Pattern of names of environment variables."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that NumPy, scikit-learn and torch all take."""


class Settings(BaseModel):
    """Base of all settings groups: frozen, unknown keys refused, literals under fields become their description."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a key put in the wrong place
    )
