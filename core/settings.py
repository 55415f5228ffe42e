"""What all groups of settings are made of."""

from pydantic import BaseModel, ConfigDict

FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of names that folders get."""
LONGEST_NAME = 100
"""Characters of such a name: file systems take 255 bytes."""
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""Pattern of names of environment variables."""


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
