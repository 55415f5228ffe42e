"""What all groups of settings are made of."""

from pydantic import BaseModel, ConfigDict


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
