"""Puts a query in place of a value in another query, and its question in place of that value's name. Pure functions.

"What is the capital of Texas" and "which state borders the most states" give "what is the capital of the state that
borders the most states", with the queries joined in the same way. This is data recombination (Jia and Liang 2016, arXiv
1606.03622). It makes kinds of questions that no training row has.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from pada_agent.evaluation.query_variations.english import AUXILIARIES, PREPOSITIONS, VERBS, pluralize, singularize
from pada_agent.evaluation.query_variations.places import ListRows, Place, Varied, as_words, find_named, names, replace
from pada_agent.evaluation.sqlite.reader import Table, Value
from pada_agent.evaluation.verifiers.sql_text import find_tokens

MAX_CHARACTERS = 450
"""Maximum length of a joined query, because a small student's answers are cut after `max_new_tokens`."""
_WHICH = re.compile(
    rf"(?:what|which) (?P<what>\w+) (?:(?:{AUXILIARIES}) (?P<by>.+)|(?P<said>(?:{VERBS}) .+))", re.IGNORECASE
)
_IS_THE = re.compile(
    r"(?:what|which|who) (?:is|are|was|were) (?P<what>(?:the|our) .+)|(?:name|list|show|give me|tell me|show me) (?P<named>(?:the|our) .+)",
    re.IGNORECASE,
)
_WHO = re.compile(rf"who (?P<said>(?:{VERBS}) .+)", re.IGNORECASE)
_NAMES_OF = re.compile(r"^(?:the|our) (?:names?|titles?) of (?=(?:the|our|an?|all|any|each|every)\b)", re.IGNORECASE)
"""What may be left out, because whoever says "the newest book" means its title. Not before a name: nobody is their title."""
_GIVEN = re.compile(r"\s*select\s+(?:distinct\s+)?(?:\w+\.)?(?P<column>\w+)\s+from\s+(?P<table>\w+)\b", re.IGNORECASE)
_ASKS_FOR_AMOUNT = re.compile(r"\s*(?:how|what is the (?:total|average|number))\b", re.IGNORECASE)


_OF_PERSON = re.compile(r"(?:first|last|full|sur|fore|given|family|middle)_?name$")
_JOINS = frozenset({"and", "or", "than", "that", "which", "who", "whose", "where", "as", "be", "not"})
_LAST_WORD = re.compile(r"(\w+)\s+$")
_NEXT_WORD = re.compile(r"\s+(\w+)")


_PLURAL = re.compile(
    r"(?:the|our)\s+(?:\w+\s+)?\w+(?<![suia])s\s+(?:that|who|which|whose|of|in|with|from|by|on|at|there)\b", re.I
)


class Phrase(NamedTuple):
    """What a question asks for, worded so that another question can contain it, and the query that returns it."""

    text: str
    sql: str
    values: tuple[str, ...]
    """What the query returns, in lower case."""


def word_as_phrase(question: str, noun: str = "", *, is_of_names: bool = True) -> str | None:
    """Turn "which state borders the most states" into "the state that borders the most states". None for other forms and other languages.

    Args:
        noun: what "who" asks for, such as "author". Without it, questions that begin with "who" have no phrase, except "who is the …".
        is_of_names: whether a title is the name of what has it, so that "the title of" may be left out.
    """
    asked = " ".join(question.split()).rstrip(" ?.!")
    if asked.rpartition(" ")[2].lower() in PREPOSITIONS:
        return None
    if found := _WHICH.fullmatch(asked):
        return f"the {found['what']} that {found['said'] or found['by']}"
    if found := _IS_THE.fullmatch(asked):
        said = found["what"] or found["named"]
        return _NAMES_OF.sub("", said) if is_of_names else said
    found = _WHO.fullmatch(asked)
    return f"the {noun} who {found['said']}" if found and noun else None


def find_noun(sql: str) -> str:
    """What a query returns, in the words of the database: "author" for `SELECT author FROM book` and for `SELECT name FROM author`. Empty if unclear."""
    given = _GIVEN.match(sql)
    if given is None:
        return ""
    column = re.sub(r"(?i)_?(?:name|title|id)$", "", given["column"])
    return singularize(as_words(column or given["table"]))


def make_phrase(
    question: str, sql: str, rows: Sequence[tuple[Value, ...]], tables: Sequence[Table] = ()
) -> Phrase | None:
    """The phrase for a question whose query returns `rows`. None if these are not texts of one column, or if the question cannot be reworded."""
    values = tuple(row[0].lower() for row in rows if len(row) == 1 and isinstance(row[0], str))
    noun = find_noun(sql)
    noun = noun if len(values) == 1 or not noun else pluralize(noun)
    given = _GIVEN.match(sql)
    read = [table for table in tables if given and table.name.lower() == given["table"].lower()]
    text = word_as_phrase(
        question, noun, is_of_names=not given or all(identifies(table, given["column"]) for table in read)
    )
    outer = {token.text.lower() for token in find_tokens(sql) if not token.depth}
    if not values or len(values) != len(rows) or text is None or ("order" in outer and "limit" not in outer):
        return None
    return Phrase(text, sql.strip().rstrip(";"), values)


def nest(
    sql: str, question: str, phrases: Sequence[Phrase], tables: Sequence[Table], *, list_rows: ListRows, rng: Random
) -> Varied | None:
    """The query with one of `phrases` in place of the value that its question names. None if none fits.

    A phrase fits if the column contains everything that the phrase's query returns, and one of the two columns contains
    all values of the other. A city therefore never replaces a state. If the question names several values, such as a
    city and its state, none is replaced.

    Args:
        tables: the tables of the database.
    """
    places = find_named(sql, question)
    if len({(p.column.lower(), p.text.lower()) for p in places}) != 1 or not all(p.text[-1:].isalpha() for p in places):
        return None
    operators = [_find_operator(sql, place) for place in places]
    pool = _hold(places[0].column, tables, list_rows, like=places[0].text)
    name = _find_name(question, places[0], tables, list_rows)
    takes_several = all(_takes_several(sql, place) for place in places)
    if name is None:
        return None
    for phrase in rng.sample(phrases, len(phrases)):
        is_one = len(phrase.values) == 1 and not _PLURAL.match(phrase.text)
        fits = (
            None not in operators
            and places[0].text.lower() not in phrase.values
            and not names(phrase.text, places[0].text)
            and _is_of(phrase, pool, tables, list_rows)
            and (is_one or (takes_several and not _ASKS_FOR_AMOUNT.match(question)))
        )
        if not fits:
            continue
        inner = f"({phrase.sql})"
        made = replace(
            sql,
            [
                (
                    Place(operator.start if operator and not is_one else p.start, p.end, p.text),
                    inner if is_one else f"IN {inner}",
                )
                for p, operator in zip(places, operators, strict=True)
            ],
        )
        if len(made) <= MAX_CHARACTERS:
            return Varied(made, ((name, phrase.text),))
    return None


def _find_operator(sql: str, place: Place) -> Place | None:
    """The equals sign before a value."""
    before = [token for token in find_tokens(sql) if token.end <= place.start]
    return Place(before[-1].start, before[-1].end, "=") if before and before[-1].text == "=" else None


def _takes_several(sql: str, place: Place) -> bool:
    """Whether a value may become several: not if that gives a query several rows which is compared as one value, as in `year < (SELECT year …)`."""
    opened: list[tuple[str, str]] = []
    texts = [("", 0), *((token.text.lower(), token.start) for token in find_tokens(sql)), ("", 0), ("", 0)]
    for before, (text, start), _, after in zip(texts, texts[1:], texts[2:], texts[3:], strict=False):
        if start >= place.start:
            break
        if text == "(":
            opened.append((before[0], after[0]))
        elif text == ")" and opened:
            opened.pop()
    compared = [asked for before, asked in opened if before in ("=", "<", ">")]
    return all(asked in ("max", "min", "avg", "sum", "count", "total") for asked in compared)


def _is_of(phrase: Phrase, pool: frozenset[str], tables: Sequence[Table], list_rows: ListRows) -> bool:
    """Whether the phrase's query returns the same kind of thing as the column whose values are in `pool`, judged by what both columns contain."""
    given = _GIVEN.match(phrase.sql)
    if given is None or not pool.issuperset(phrase.values):
        return False
    column = _hold(given["column"], tables, list_rows, like=phrase.values[0])
    return bool(column) and (pool <= column or column <= pool)


def _hold(column: str, tables: Sequence[Table], list_rows: ListRows, *, like: str) -> frozenset[str]:
    """Values, in lower case, of the columns with that name, in the tables where they contain `like`."""
    names_of = [(t.name, c.name) for t in tables for c in t.columns if c.name.lower() == column.lower()]
    held = [frozenset(str(row[0]).lower() for row in list_rows(table, (name,))) for table, name in names_of]
    return frozenset().union(*(values for values in held if like.lower() in values))


def _find_name(question: str, place: Place, tables: Sequence[Table], list_rows: ListRows) -> str | None:
    """The value in the question's words, including what says its kind: "the state of Texas", "the Mississippi river".

    None if a phrase would not fit there, because the value says of what kind something is: "the longest mystery", "science books".
    """
    base = re.escape(re.sub(r"(?i)_?(?:name|title|id)$", "", place.column)) or "-"
    kinds = "|".join({re.escape(t.name) for t in tables if _has_one(t, place.text, list_rows)} | {base})
    value = r"\s+".join(map(re.escape, place.text.split()))
    found = re.search(
        rf"(?<!\w)(?:(?:(?:the|an?)\s+)?(?:{kinds})\s+(?:of\s+|named\s+|called\s+)?{value}|(?:the\s+)?{value}(?:\s+(?:{kinds}))?)(?!\w)",
        question,
        re.IGNORECASE,
    )
    if found is None:
        return None
    before, after = _LAST_WORD.search(question[: found.start()]), _NEXT_WORD.match(question[found.end() :])
    around = (before and before[1], after and after[1])
    return found.group() if all(word is None or _may_adjoin(word) for word in around) else None


def _has_one(table: Table, value: str, list_rows: ListRows) -> bool:
    """Whether one row of the table is the thing of that name: a state, but not a city, is called Texas."""
    own = [c for c in table.columns if identifies(table, c.name)]
    return any(value.lower() == str(row[0]).lower() for c in own for row in list_rows(table.name, (c.name,)))


def identifies(table: Table, column: str) -> bool:
    """Whether a column holds the names of what the table's rows are: `name`, `title`, and `state_name` in `state` or `states`.

    A reference does not, and neither does the title of a person, who has a name beside it.
    """
    own, name = table.name.lower(), column.lower()
    bases = ("", own, singularize(own))
    is_own = re.sub(r"_?(?:name|title)$", "", name) in bases
    others = [c.name.lower() for c in table.columns if c.name.lower() != name]
    is_title = name.endswith("title") and any(
        _OF_PERSON.search(other) or (other.endswith("name") and re.sub(r"_?name$", "", other) in bases)
        for other in others
    )
    return is_own and not is_title and name not in {reference[0].lower() for reference in table.references}


def _may_adjoin(word: str) -> bool:
    return word.lower() in PREPOSITIONS | _JOINS or re.fullmatch(VERBS, word, re.IGNORECASE) is not None
