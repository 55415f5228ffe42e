"""Writes a run's settings into a chat template, for programs that know the template and not the settings."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_LAST_BREAK = re.compile(r"(\r\n|\r|\n)\Z")
"""Jinja leaves it out."""
_DATES = re.compile(r"""strftime_now\(\s*(['"])([^'"]*)\1\s*\)""")


def fix_template(
    template: str,
    variables: Mapping[str, Any],
    *,
    today: date,
    system: str | None = None,
    closing: tuple[str, str] | None = None,
) -> str:
    """A template that without any settings renders what `template` renders with these. Itself if they change nothing.

    Args:
        variables: of the template, with their values. Callers can no longer set them.
        today: the date that it writes on any day.
        system: text of the system turn of conversations without one. None gives them none.
        closing: how the template ends a prompt with an open thought, such as `<think>`, and the text that then closes it.
    """
    read = {name: value for name, value in variables.items() if re.search(rf"\b{re.escape(name)}\b", template)}
    head = "".join(f"{{% set {name} = {value!r} %}}" for name, value in read.items())
    if system is not None:
        turn = {"role": "system", "content": system}
        head += f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = [{turn!r}] + messages %}}{{% endif %}}"
    text = _DATES.sub(lambda found: repr(today.strftime(found[2])), template)
    if head:  # on a line of its own, because chat templates leave out spaces and line breaks around tags
        text = f"{head}\n{text}"
    if closing:
        end, text_after = closing
        # The empty texts keep Jinja from dropping spaces and line breaks next to the tags.
        text = (
            f"{{% set rendered %}}{{{{ '' }}}}{_LAST_BREAK.sub('', text)}{{{{ '' }}}}{{% endset %}}{{{{ rendered }}}}"
            f"{{{{ {text_after!r} if add_generation_prompt and rendered.endswith({end!r}) else '' }}}}"
        )
    return text
