"""Finds the program in a response, and takes Python source apart."""

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import islice

from pada_agent.core.lines import split_lines
from pada_agent.core.syntax_trees import parse

_OPENING = re.compile(r"```[ \t]*(?:(?:python3?|py)[ \t]*)?\n", re.IGNORECASE)
_CLOSINGS = (re.compile(r"\n[ \t]*```"), re.compile(r"\n[ \t]*```|```[ \t]*(?=\n|\Z)"))
"""On a line of its own; or else behind the last statement."""
_MAX_FENCES = 10
"""Maximum number of fences that are tried as the end of a block, because a docstring may have some of its own."""
_CODE_LINE = re.compile(r"(?:async\s+def|def|class|import|from|@)\b|@")

MAX_ATTEMPTS = 100
"""Maximum number of attempts to find where the program in an answer ends."""
TRIED_ONE_BY_ONE = 20
"""Number of ends that are tried before relying on the parser's error line. Prose after a program is usually short."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def fence(code: str) -> str:
    """The code in a fenced block, as a chat model shows it."""
    return f"```python\n{code.strip(chr(10))}\n```"


def parses(code: str) -> bool:
    return find_syntax_error(code) is None


def find_syntax_error(code: str) -> str | None:
    """A message such as `line 3: invalid syntax`, or None."""
    try:
        parse(code)
    except SyntaxError as exc:
        return f"line {exc.lineno}: {exc.msg}" if exc.lineno else exc.msg
    except (ValueError, RecursionError, MemoryError) as exc:
        return str(exc) or type(exc).__name__
    return None


def find_function(code: str, name: str) -> FunctionNode | None:
    """The last top-level definition with this name."""
    found = [n for n in parse(code).body if isinstance(n, FunctionNode) and n.name == name]
    return found[-1] if found else None


def complete_program(prompt: str, response: str, entry_point: str) -> str:
    """The program that a response to a function prompt stands for.

    A response that defines the function is kept, preceded by the imports and helpers that it lacks: those of the prompt, and
    those that the response defines in blocks of their own. Anything else is taken as the function's body and put into the
    prompt.
    """
    code = extract_code(response, entry_point)
    if defines(code, entry_point) or _assigns(code, entry_point):
        code = trim_to_code(code)
        helpers = _find_helpers(response, code, prompt)
        return _put_future_first(f"{extract_preamble(prompt, entry_point, code)}{helpers}{code}\n")
    head, rest = _split_behind(prompt, entry_point)
    return f"{head.rstrip()}\n{_fit_body(head, code)}\n{rest}"


def _split_behind(prompt: str, entry_point: str) -> tuple[str, str]:
    """The prompt up to the end of the function, and the helpers behind it."""
    function = find_function(prompt, entry_point) if parses(prompt) else None
    if function is None or function is parse(prompt).body[-1] or function.end_lineno is None:
        return prompt, ""
    lines = split_lines(prompt)
    return "\n".join(lines[: function.end_lineno]), "\n".join(lines[function.end_lineno :])


def _put_future_first(program: str) -> str:
    """`from __future__ import …` has to come before the imports of the prompt. The parser does not mind, but Python does."""
    if "__future__" not in program or not parses(program):
        return program
    lines = split_lines(program)
    imports = [n for n in parse(program).body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    places = {i for node in imports for i in range(node.lineno - 1, node.end_lineno or node.lineno)}
    first = [lines[i] for i in sorted(places)]
    return "\n".join([*first, *(line for i, line in enumerate(lines) if i not in places), ""])


def extract_code(response: str, entry_point: str) -> str:
    """The whole response if it is Python that defines the function; else the last fenced block that is, since a model may
    correct itself; else the first that defines it, else the first block, else the whole response. A fence may be left open. An
    indented function is moved to the left margin.
    """
    if defines(response, entry_point) and parses(response):
        return response
    complete: dict[int, str] = {}
    for closing in _CLOSINGS:
        found = dict(_list_blocks(response, closing, entry_point))
        defining = {start: block for start, block in found.items() if defines(block, entry_point)}
        complete = {start: block for start, block in defining.items() if parses(block)} | complete
    if complete:
        return complete[max(complete)]
    return [*defining.values(), *found.values(), _move_to_margin(response, entry_point)][0]


def _list_blocks(response: str, closing: re.Pattern[str], entry_point: str) -> Iterator[tuple[int, str]]:
    """Where fenced blocks begin, and what is in them. Each ends at the first fence, unless that is in a docstring."""
    place = 0
    while opening := _OPENING.search(response, place):
        ends = [match.span() for match in islice(closing.finditer(response, opening.end()), _MAX_FENCES)]
        ends += [(len(response), len(response))] if len(ends) < _MAX_FENCES else []
        end, place = ends[0]
        block = _move_to_margin(response[opening.end() : end], entry_point)
        for later, after in ends[1:] if _is_in_docstring(block) else ():
            longer = _move_to_margin(response[opening.end() : later], entry_point)
            if parses(longer):
                block, place = longer, after
                break
        yield opening.start(), block


def _is_in_docstring(code: str) -> bool:
    """Whether the code may end inside a docstring."""
    return any(code.count(quotes) % 2 for quotes in ('"""', "'''"))


def _find_helpers(response: str, code: str, prompt: str) -> str:
    """What other blocks of the response define and the program uses, if neither it nor the prompt defines it."""
    blocks = dict.fromkeys(block for _, block in _list_blocks(response, _CLOSINGS[0], ""))
    others = [b for b in blocks if b.strip() != code.strip() and parses(b)] if len(blocks) > 1 else []
    if not others or not parses(code):
        return ""
    known = {*dir(builtins), *_list_bound(code), *_list_bound(close_signature(prompt))}
    statements = [(node, block) for block in others for node in parse(block).body]
    found: dict[str, ast.stmt] = {}
    waiting: list[ast.AST] = [parse(code)]
    while waiting:
        used = {n.id for n in ast.walk(waiting.pop()) if isinstance(n, ast.Name)} - known
        for node, block in statements:
            if used.intersection(_list_names(node)):
                known.update(_list_names(node))
                found[source_of(node, block)] = node
                waiting.append(node)
    return "".join(f"{text}\n" for node, block in statements if (text := source_of(node, block)) in found)


def _list_bound(code: str) -> Iterator[str]:
    """All names that some statement of the code gives a value, and parameters."""
    for node in ast.walk(parse(code)):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.stmt):
            yield from _list_names(node)


def _list_names(node: ast.stmt) -> list[str]:
    """The names that a definition, an import or an assignment gives."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def _move_to_margin(code: str, name: str) -> str:
    """The code without the indentation of the function, as in a list. A function inside other Python, a body (with a
    `return` beside it) or a class stays where it is.
    """
    if defines(code, name) or parses(code):
        return code
    found = re.search(rf"^([ \t]+)(?:async\s+)?def\s+{re.escape(name)}\s*\(", code, re.M)
    if found is None or re.search(rf"^(?:{found[1]}return\b|class\b)", code, re.M):
        return code
    return re.sub(rf"^{found[1]}", "", code, flags=re.M)


def defines(code: str, name: str) -> bool:
    return re.search(rf"^(?:async\s+)?def\s+{re.escape(name)}\s*\(", code, re.MULTILINE) is not None


def _assigns(code: str, name: str) -> bool:
    """Whether the code is `name = lambda …`, or assigns another function. With a `return` beside it, it is a body: `n = 0`."""
    is_assigned = re.search(rf"^{re.escape(name)}\s*=(?!=)", code, re.MULTILINE) is not None and parses(code)
    return is_assigned and not _has_return(code)


def _has_return(code: str) -> bool:
    """Whether there is a `return` outside every function, as in the lines of a body."""
    waiting: list[ast.AST] = [parse(code)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, FunctionNode | ast.ClassDef | ast.expr):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def trim_to_code(code: str) -> str:
    """The code without prose before the first statement or after the last line that still parses."""
    lines = split_lines(code)
    start = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line)), 0)
    whole = "\n".join(lines) if parses(code) else "\n".join(lines[start:])
    return longest_parsing("", split_lines(whole)) or code


def longest_parsing(head: str, lines: list[str]) -> str | None:
    """The longest beginning of `lines` that parses after `head`.

    An end at or after the line where the parser stopped would fail again, so it is not tried. But an error may also
    name the line where its statement begins, so the last ends are tried one by one.
    """
    end, n_above = len(lines), head.count("\n")
    for attempt in range(MAX_ATTEMPTS):
        if end < 1:
            return None
        text = "\n".join(lines[:end])
        stopped_at = _find_error_line(f"{head}{text}\n")
        if stopped_at is None:
            return text
        end -= 1
        if attempt >= TRIED_ONE_BY_ONE and stopped_at > n_above:
            end = min(end, stopped_at - n_above - 1)
    return None


def _find_error_line(code: str) -> int | None:
    """Line where the parser stops, or 0 if it does not say. None if the code parses."""
    try:
        parse(code)
    except SyntaxError as exc:
        return exc.lineno or 0
    except (ValueError, RecursionError, MemoryError):
        return 0
    return None


def _fit_body(prompt: str, code: str) -> str:
    head, depth = f"{prompt.rstrip()}\n", _find_depth(prompt)
    indented = _indent(code, depth)
    for body in (code.strip("\n"), indented.strip("\n"), f"{depth}{code.strip()}"):
        if parses(f"{head}{body}\n") and body[:1].isspace():
            return body
    kept = (longest_parsing(head, split_lines(body.strip("\n"))) for body in (code, indented))
    return next((body for body in kept if body is not None and body[:1].isspace()), indented)


def _find_depth(prompt: str) -> str:
    """The indentation of the body that the prompt's last function has so far: of its docstring."""
    functions = [node for node in parse(prompt).body if isinstance(node, FunctionNode)] if parses(prompt) else []
    if not functions or functions[-1].body[0].lineno == functions[-1].lineno:
        return "    "
    first = functions[-1].body[0]
    return split_lines(prompt)[first.lineno - 1][: first.col_offset]


def _indent(code: str, depth: str = "    ") -> str:
    """Indent by `depth`. `textwrap.indent` would also indent inside strings that contain U+2028 or a form feed."""
    lines = split_lines(textwrap.dedent(code))
    return "\n".join(f"{depth}{line}" if line.strip() else line for line in lines)


def extract_preamble(prompt: str, entry_point: str, code: str) -> str:
    """The prompt's imports and helpers that `code` lacks."""
    if not parses(code):
        return ""
    prompt = close_signature(prompt)
    known = {entry_point} | {_name_of(node, code) for node in parse(code).body}
    lacking = [source_of(node, prompt) for node in parse(prompt).body if _name_of(node, prompt) not in known]
    return "".join(f"{text}\n" for text in lacking)


def close_signature(prompt: str) -> str:
    """The prompt as Python: a signature without a docstring gets an empty body. Empty if that does not make it Python."""
    return next((code for code in (prompt, f"{prompt.rstrip()}\n    pass\n") if parses(code)), "")


def source_of(node: ast.stmt, code: str) -> str:
    """The statement as it is written. `ast.unparse` fails on expressions that are nested a few hundred levels deep."""
    return ast.get_source_segment(code, node) or ""


def _name_of(node: ast.stmt, code: str) -> str:
    """A definition's name. For any other statement, its source."""
    return node.name if isinstance(node, FunctionNode | ast.ClassDef) else source_of(node, code)


def extract_body(code: str, name: str, prompt: str) -> str | None:
    """The lines of the function's body without its docstring, indented as the prompt's is. None unless the code consists of this
    one function.
    """
    function = find_function(code, name)
    others = [n for n in parse(code).body if not isinstance(n, ast.Import | ast.ImportFrom)][1:]
    if function is None or others:
        return None
    statements = _list_statements(function)
    if not statements or statements[0].lineno == function.lineno:
        return None
    lines = split_lines(code)[statements[0].lineno - 1 : function.end_lineno]
    body, depth = "\n".join(lines), _find_depth(prompt)
    return body if lines[0][: statements[0].col_offset] == depth else _indent(body, depth)


def does_same(code: str, other: str, name: str) -> bool:
    """Whether `code` defines the function with the same parameters and statements as `other`, apart from docstring and
    annotations, and with all its decorators.
    """
    one, two = (find_function(source, name) if parses(source) else None for source in (code, other))
    if one is None or two is None or type(one) is not type(two):
        return False
    if not all(_spell([node]) in [_spell([own]) for own in one.decorator_list] for node in two.decorator_list):
        return False
    return all(_spell(a) == _spell(b) for a, b in zip(_list_parts(one), _list_parts(two), strict=True))


def _list_parts(function: FunctionNode) -> list[list[ast.AST]]:
    """Parameters without annotations, defaults, and statements."""
    taken = function.args
    named = [
        *taken.posonlyargs,
        *taken.args,
        *filter(None, [taken.vararg]),
        *taken.kwonlyargs,
        *filter(None, [taken.kwarg]),
    ]
    parameters: list[ast.AST] = [ast.Name(id=argument.arg) for argument in named]
    defaults = [*taken.defaults, *(value or ast.Constant(value=...) for value in taken.kw_defaults)]
    return [parameters, [*defaults], [*_list_statements(function)]]


def _spell(parts: Sequence[ast.AST]) -> list[object]:
    """All that these parts consist of, in order. `ast.dump` fails on deeply nested ones."""
    nodes = (node for part in parts for node in ast.walk(part))
    return [(type(n), [v for _, v in ast.iter_fields(n) if not isinstance(v, ast.AST | list)]) for n in nodes]


def _list_statements(function: FunctionNode) -> list[ast.stmt]:
    """Without the docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def replace_with_stub(code: str, name: str) -> str:
    """The program with an empty function body, so that the function returns None."""
    for node in parse(code).body:
        if isinstance(node, FunctionNode) and node.name == name:
            lines, first = split_lines(code), node.body[0]
            start = lines[first.lineno - 1].encode()[: first.col_offset].decode()
            return "\n".join([*lines[: first.lineno - 1], f"{start}pass", *lines[node.end_lineno :], ""])
    return f"{code}\n{name} = lambda *_, **__: None\n" if _assigns(code, name) else code
