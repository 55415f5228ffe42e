"""The English words with which code changes questions: ends of a scale, verbs and prepositions. In other languages, values and columns alone are changed."""

import re
from collections.abc import Sequence

TURNED = {"max": "MIN", "min": "MAX", "asc": "DESC", "desc": "ASC", "<": ">", ">": "<"}
"""One end of a scale mapped to the other."""
EXTREMES = (
    *(("largest", "smallest"), ("biggest", "smallest"), ("greatest", "smallest"), ("longest", "shortest")),
    *(("highest", "lowest"), ("most", "least"), ("most", "fewest"), ("maximum", "minimum"), ("newest", "oldest")),
    *(("latest", "earliest"), ("youngest", "oldest")),
)
"""Words for the upper and the lower end that `MAX`, `MIN` or `ORDER BY` finds. The first pair that contains a word gives its opposite."""
COMPARATIVES = (
    *(("larger", "smaller"), ("bigger", "smaller"), ("greater", "smaller"), ("longer", "shorter"), ("more", "fewer")),
    *(("higher", "lower"), ("more", "less"), ("above", "below"), ("at least", "at most")),
)
"""The same for `>` and `<`."""
LIMITS = (("after", "before"), ("over", "under"))
"""The same for `>` and `<`, directly before the value: "after 1990"."""
ENDS_OF_SCALES = frozenset(word for pair in (*EXTREMES, *COMPARATIVES) for word in pair)
AUXILIARIES = "do|does|did"
VERBS = (
    rf"is|are|was|were|has|have|had|can|{AUXILIARIES}|appear(?:s|ed)?|arrived?|attend(?:s|ed)?|begins?|began|belong(?:s|ed)?"
    r"|border(?:s|ed)?|borrow(?:s|ed)?|bought|buys?|call(?:s|ed)?|comes?|came|contain(?:s|ed)?|costs?|cross(?:es|ed)?|earn(?:s|ed)?"
    r"|end(?:s|ed)?|exist(?:s|ed)?|flows?|gave|gives?|goes|go|went|held|holds?|join(?:s|ed)?|leaves?|left|lends?|lent|lies?|lives?|lived"
    r"|made|makes?|moved?|needs?|offer(?:s|ed)?|open(?:s|ed)?|order(?:s|ed)?|owns?|owned|pass(?:es|ed)?|pays?|paid|plays?|played"
    r"|produced?|produces|publish(?:es|ed)?|rent(?:s|ed)?|runs?|ran|sells?|sold|sends?|sent|serves?|served|speaks?|start(?:s|ed)?"
    r"|stud(?:y|ies|ied)|takes?|took|taught|teach(?:es)?|traverses?|uses?|used|visit(?:s|ed)?|weighs?|wins?|won|works?|worked|writes?|wrote"
)
"""Verbs after "which state": what follows can be said of "the state that"."""
ACTIVE = {
    **{"arrived": "arrive", "began": "begin", "died": "die", "ended": "end", "expired": "expire", "finished": "finish"},
    **{"joined": "join", "left": "leave", "resigned": "resign", "retired": "retire", "started": "start"},
}
"""What things do themselves, with its infinitive: nobody was died."""
PREPOSITIONS = frozenset(
    {
        "of",
        "in",
        "with",
        "to",
        "from",
        "on",
        "at",
        "for",
        "by",
        "through",
        "over",
        "about",
        "after",
        "before",
        "without",
    }
    | {"near", "into", "across", "along", "under", "within", "inside", "around", "called", "named"}
)


_ENGLISH = re.compile(r"\b(?:what|which|who|whose|how|when|where|the|list|show)\b", re.IGNORECASE)


def are_english(questions: Sequence[str]) -> bool:
    """Whether most of these questions are in English."""
    return sum(_ENGLISH.search(question) is not None for question in questions) > len(questions) / 2


_PLURALS = {
    **{"person": "people", "child": "children", "man": "men", "woman": "women", "movie": "movies", "cookie": "cookies"},
    **{noun: noun for noun in ("staff", "series", "species", "equipment", "personnel", "information", "data", "news")},
}
"""Plurals that no rule gives."""
_SINGULARS = {plural: noun for noun, plural in _PLURALS.items()}
_LAST_WORD = re.compile(r"[^\W_]*$")


def pluralize(noun: str) -> str:
    """The English plural of a column's or table's name: "populations", "countries", "branches". A plural stays as it is."""
    last = _LAST_WORD.findall(noun)[0]
    if last in _PLURALS:
        return noun.removesuffix(last) + _PLURALS[last]
    if last in _SINGULARS or (noun.endswith("s") and not noun.endswith("ss")):
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def singularize(noun: str) -> str:
    """The opposite of `pluralize`: "country" for "countries". A singular stays as it is."""
    last = _LAST_WORD.findall(noun)[0]
    if last in _SINGULARS:
        return noun.removesuffix(last) + _SINGULARS[last]
    if re.search(r".{3}ies$", last):
        return f"{noun[:-3]}y"
    if re.search(r"(?:ch|sh|ss|x|[^aeo]us)es$", last):
        return noun[:-2]
    return noun[:-1] if re.search(r".[^sui]s$|ies$", last) else noun
