"""What all groups of settings are made of."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.core.errors import ConfigError
from pada_agent.core.suggestions import suggest

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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values. A mapping in place of a group changes only the settings that it names, and is validated.

        Raises:
            ConfigError: there is no such setting.
        """
        known = type(self).model_fields
        if unknown := next((name for name in update or {} if name not in known), None):
            raise ConfigError(f"{unknown}: there is no such setting.{suggest(unknown, known)}")
        changes = {name: _change_group(getattr(self, name), value) for name, value in (update or {}).items()}
        return super().model_copy(update=changes, deep=deep)


def _change_group(own: Any, value: Any) -> Any:
    is_change = isinstance(own, BaseModel) and isinstance(value, Mapping)
    return type(own).model_validate(_lay_over(own, value)) if is_change else value


def _lay_over(own: Any, value: Any) -> Any:
    if not (isinstance(own, BaseModel) and isinstance(value, Mapping)):
        return value
    inner = {name: _lay_over(getattr(own, name, None), one) for name, one in value.items()}
    return {**own.model_dump(exclude_unset=True), **inner}
