"""Notes on rows that can be read, but may not be what was written."""

import html
import re
from collections.abc import Sequence
from contextlib import suppress

from pada_agent.core.records import Example
from pada_agent.core.wording import agree, count
from pada_agent.evaluation.rows.narrow_floats import find_meant
from pada_agent.evaluation.task import Task

DOUBTFUL = ("None", "none", "NONE", "NA", "N/A", "n/a", "null", "NULL", "Null", "(null)", "\\N", "-", "--", "?")
"""Words that may be answers, or what is left of an empty cell."""
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#[xX][0-9a-fA-F]{2,5});")
_MONTH = r"(?:Jan|Feb|M(?:ar|är|ai)|Apr|May|Ju[nl]|Aug|Sep|O[ck]t|Nov|De[cz])"
_SHEET_DATE = re.compile(rf"\d{{1,2}}(?:-|\. ){_MONTH}|{_MONTH}[- ]\d{{2}}")
"""What Excel makes of `1-2`, `3/4` and `3-1990` in English and German."""
_MANY_DECIMALS = re.compile(r"-?\d+[.,]\d{12,}")
_LATER_BYTE = "\u0080-\u00bf" + bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
_GARBLED = re.compile(
    rf"[\u00c2\u00c3][{_LATER_BYTE}]|(?:[\u00d0\u00d1][{_LATER_BYTE}]){{2}}|\u00e2[{_LATER_BYTE}]{{2}}|\u00f0[{_LATER_BYTE}]{{3}}"
)
"""What UTF-8 looks like when it is read as Windows-1252 or Latin-1: accented and Cyrillic letters, quotes, emoji."""


def list_doubts(task: Task, examples: Sequence[Example]) -> list[str]:
    """What a person should look at in a file, one line each."""
    garbled = _list_garbled(examples, is_text=not task.runs_code and not task.reads_database)
    if task.config.labels:
        return [*garbled, *task.list_doubts(examples)]
    answers = [example.answer.strip() for example in examples if not example.options]
    counts = {word: n for word in DOUBTFUL if (n := answers.count(word))}
    notes = [
        f"{count(n, 'answer')} {agree(n, 'is', 'are')} {word!r}: drop the {agree(n, 'row', 'rows')} if that is an empty cell"
        for word, n in counts.items()
    ]
    n_decimals = sum(
        answer.removeprefix("-").removesuffix(".0").isdigit() and answer.endswith(".0") for answer in answers
    )
    if answers and n_decimals == len(answers):
        notes.append("all answers end in .0: were they whole numbers that became decimals on the way?")
    noisy = {answer: meant for answer in answers if (meant := find_meant(answer)) is not None}
    if noisy:
        answer, meant = next(iter(noisy.items()))
        n = sum(answer in noisy for answer in answers)
        notes.append(
            f"{count(n, 'answer')} {agree(n, 'has', 'have')} floating-point rounding errors, such as {answer}:"
            f" round {agree(n, 'it', 'them')} ({meant}?)"
        )
    notes += [*_list_dates(examples), *_list_endless(examples)]
    return [*notes, *garbled, *task.list_doubts(examples)]


def _list_dates(examples: Sequence[Example]) -> list[str]:
    """Answers and options that may have been ranges, scores or fractions before a spreadsheet turned them into dates."""
    texts = [example.reference.get("choices") or [example.answer] for example in examples]
    dates = [text for row in texts for text in row if _SHEET_DATE.fullmatch(str(text).strip())]
    if not dates:
        return []
    n = len(dates)
    return [
        f"{n:,} {agree(n, 'answer or option', 'answers or options')} {agree(n, 'looks', 'look')} like what a spreadsheet makes of 1-2 or 3/4, such as"
        f" {dates[0]!r}: format the column as text there, and restore {agree(n, 'it', 'them')}"
    ]


def _list_endless(examples: Sequence[Example]) -> list[str]:
    """Right numbers that nobody writes with all of their digits, and that are not merely noisy."""
    golds = [str(example.reference.get("number") or example.answer).strip() for example in examples]
    endless = [gold for gold in golds if _MANY_DECIMALS.fullmatch(gold) and find_meant(gold) is None]
    if not endless:
        return []
    n = len(endless)
    return [
        f"{count(n, 'answer')} {agree(n, 'has', 'have')} 12 decimals or more, such as {endless[0][:40]}. Numbers are compared"
        f" exactly, so a rounded one is wrong: round {agree(n, 'it', 'them')}, and say in task.instruction to how many digits"
    ]


def _list_garbled(examples: Sequence[Example], *, is_text: bool) -> list[str]:
    """Rows that hold HTML, unless they may be about it, or characters that were read in another encoding than written."""
    texts = [f"{example.prompt}\n{example.answer}" for example in examples]
    entities = [found[0] for text in texts if is_text and (found := _ENTITY.search(text))]
    garbled = list(filter(None, map(_find_garbled, texts)))
    notes = []
    if entities:
        meant = html.unescape(entities[0])
        notes.append(f"{_hold(entities)} HTML entities, such as {entities[0]}: decode them ({meant!r}?)")
    if garbled:
        written, meant = garbled[0]
        notes.append(
            f"{_hold(garbled)} characters that were read in a wrong encoding, such as {written} ({meant}?): save the"
            " original as UTF-8"
        )
    return notes


def _hold(found: Sequence[object]) -> str:
    return f"{count(len(found), 'row')} {agree(len(found), 'contains', 'contain')}"


def _find_garbled(text: str) -> tuple[str, str] | None:
    """Characters that are the bytes of another one in UTF-8, and this one."""
    for found in _GARBLED.finditer(text):
        with suppress(UnicodeError):
            return found[0], bytes(map(_to_byte, found[0])).decode("utf-8")
    return None


def _to_byte(character: str) -> int:
    """The byte of a character in Windows-1252, or in Latin-1 if Windows-1252 does not have it."""
    return character.encode("cp1252")[0] if ord(character) > 0xFF else ord(character)
