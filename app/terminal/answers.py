"""A person's answer to a run that waits: on the terminal, or from a file."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pada_agent.app.runs.driver import Answer, Question
from pada_agent.core.errors import ConfigError
from pada_agent.graph.reviewing import ANSWERS, APPROVE, parse_answer

_PROMPTS = {
    "strategies": "[a]pprove, [d]rop numbers (d 2 3), [e]dit in $EDITOR, [w]ait: ",
    "data": "[a]pprove, [d]rop numbers and [k]eep some that were rejected (d 2 3 k 1), [e]dit in $EDITOR, [w]ait: ",
    "cost": "[a]pprove, [s]top here, [w]ait: ",
}


def describe_question(question: Question) -> str:
    """The question in words, with its items numbered from 1."""
    problem = [f"The last answer could not be used: {found}"] if (found := question.payload.get("problem")) else []
    if _kind(question) == "cost":
        p = question.payload
        words = f"about {p['hours']} hours; the limit is {p['limit_hours']}. Basis: {p['basis']}."
        return "\n".join([*problem, f"The next fine-tuning is expected to take {words}"])
    items = _items(question)
    lines = [*problem, f"The run is waiting for a review of its {_kind(question)} ({len(items)} shown)."]
    lines += _number_items(items)
    if rejected := question.payload.get("rejected"):
        lines += [f"\nRejected ({len(rejected)} shown):", *_number_items(rejected)]
    return "\n".join(lines)


def ask_on_terminal(show: Callable[[str], None], ask: Callable[[str], str] = input) -> Answer:
    """An `Answer` that shows the question and asks until there is a decision. If the input ends (Ctrl-D), the run keeps waiting."""

    def answer(question: Question) -> Any:
        show(describe_question(question))
        while True:
            try:
                return decide(question, ask(_PROMPTS[_kind(question)]))
            except ConfigError as exc:
                show(str(exc))
            except UnicodeDecodeError:
                show("What was typed is not in the terminal's encoding.")
            except EOFError:
                return None

    return answer


def decide(question: Question, command: str) -> Any:
    """The reply for a typed command. None to keep waiting.

    Raises:
        ConfigError: this is not a command, or it cannot be carried out.
    """
    word, *numbers = command.split() or [""]
    match _kind(question), word:
        case _, "a":
            return APPROVE
        case _, "w":
            return None
        case "cost", "s":
            return {"stop": True}
        case "strategies", "d":
            return drop_strategies(question, numbers)
        case "data", "d" | "k":
            return choose_rows(question, [word, *numbers])
        case "strategies" | "data", "e":
            return edit_items(question)
    raise ConfigError(f"{word!r} is not among: {_PROMPTS[_kind(question)]}")


def answer_from_file(path: Path) -> Answer:
    """An `Answer` to the first question. Later questions wait.

    Raises:
        ConfigError: the file is not JSON. When the question comes, also if the file does not answer it.
    """
    try:
        replies = [json.loads(path.read_bytes())]
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not valid JSON: {exc}") from exc
    return lambda question: check_reply(question, replies.pop()) if replies else None


def check_reply(question: Question, reply: Any) -> Any:
    """Return the reply if it answers the question. An invalid one must be refused here, because it would stay in the run's checkpoint.

    Raises:
        ConfigError: it does not answer the question.
    """
    try:
        parse_answer(ANSWERS[_kind(question)], reply)
    except ValueError as exc:
        raise ConfigError(f"{explain_answer(question)}\n{exc}") from exc
    return reply


def explain_answer(question: Question) -> str:
    """What an answer looks like, as JSON."""
    forms = {
        "strategies": '{"strategies": [those to continue with]}',
        "data": '{"drop": [ids of accepted rows], "accept": [ids of rejected rows]}',
        "cost": '{"stop": true}',
    }
    return f'An answer is "{APPROVE}" or {forms[_kind(question)]}; a "comment" may be added.'


def drop_strategies(question: Question, numbers: Sequence[str]) -> dict[str, Any]:
    """The reply without the strategies with these numbers, counted from 1.

    Raises:
        ConfigError: there is no such number.
    """
    items = _items(question)
    dropped = _parse_numbers(numbers, len(items))
    return {"strategies": [item for n, item in enumerate(items, 1) if n not in dropped]}


def choose_rows(question: Question, words: Sequence[str]) -> dict[str, Any]:
    """The reply for `d` with the numbers of accepted rows to drop, and `k` with the numbers of rejected rows to keep. One or both.

    Raises:
        ConfigError: there is no such number.
    """
    starts = [i for i, word in enumerate(words) if word in ("d", "k")]
    groups = {words[i]: words[i + 1 : j] for i, j in zip(starts, [*starts[1:], len(words)], strict=True)}
    listed = {"d": _items(question), "k": list(question.payload.get("rejected", []))}
    chosen = {
        word: [listed[word][n - 1]["id"] for n in _parse_numbers(numbers, len(listed[word]))]
        for word, numbers in groups.items()
    }
    return {name: chosen[word] for word, name in (("d", "drop"), ("k", "accept")) if word in chosen}


def edit_items(question: Question) -> Any:
    """The reply made in $EDITOR (or vi): strategies as edited. Rows that were removed are dropped.

    Raises:
        ConfigError: the editor failed, or left something that is not an answer.
    """
    items = _items(question)
    edited = _open_editor(items)
    if not _is_data(question):
        return check_reply(question, {"strategies": edited})
    if not isinstance(edited, list) or any(row not in items for row in edited):
        raise ConfigError("Rows can be removed, not changed. Delete whole entries from the list.")
    return {"drop": [row["id"] for row in items if row not in edited]}


def _open_editor(items: list[dict[str, Any]]) -> Any:
    try:
        editor = shlex.split(os.environ.get("EDITOR", "")) or ["vi"]
    except ValueError as exc:
        raise ConfigError(f"EDITOR: {os.environ['EDITOR']}: not a command ({exc})") from exc
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "items.json")
        path.write_text(json.dumps(items, indent=2, ensure_ascii=False), encoding="utf-8")
        try:
            subprocess.run([*editor, str(path)], check=True)
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, subprocess.CalledProcessError) as exc:
            raise ConfigError(f"{editor[0]}: {exc}. Set EDITOR to an editor that waits until it is closed.") from exc
        except ValueError as exc:
            raise ConfigError(f"The edited text is not valid JSON: {exc}") from exc


def _items(question: Question) -> list[dict[str, Any]]:
    return list(question.payload.get("rows" if _is_data(question) else "strategies", []))


def _parse_numbers(numbers: Sequence[str], n_items: int) -> list[int]:
    if not numbers or any(not n.isdecimal() or not 1 <= int(n) <= n_items for n in numbers):
        raise ConfigError(f"Give numbers from 1 to {n_items}, as in: d 2 3")
    return sorted({int(n) for n in numbers})


def _number_items(items: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for number, item in enumerate(items, 1):
        lines.append(f"\n{number}.")
        lines += [f"   {name}: {_show(value)}" for name, value in item.items() if value not in ("", None, [], ())]
    return lines


def _is_data(question: Question) -> bool:
    return _kind(question) == "data"


def _kind(question: Question) -> str:
    return str(question.payload["review"])


def _show(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
