"""The language of templates: Liquid, with its data for a world.

A text reads the variables it is given and nothing else: no files, no attributes of objects, no clock. What it may cost
is counted, not timed, so that the same text and variables give the same result everywhere. What names there are and
what follows from a missing one is said in template_wording.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from liquid import Environment, RenderContext
from liquid.ast import ConditionalBlockNode, Node
from liquid.builtin import content, illegal, output
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.tags.assign_tag import AssignTag
from liquid.builtin.tags.capture_tag import CaptureTag
from liquid.builtin.tags.case_tag import CaseNode, CaseTag, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentTag
from liquid.builtin.tags.for_tag import BreakTag, ContinueTag, ForTag
from liquid.builtin.tags.if_tag import IfNode, IfTag
from liquid.builtin.tags.inline_comment_tag import InlineCommentTag
from liquid.builtin.tags.unless_tag import UnlessNode, UnlessTag
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.token import TOKEN_TAG
from liquid.undefined import FalsyStrictUndefined, Undefined

from notifications.template_filters import FILTERS

# The largest payload has 4 KB; nothing that is sent comes near these.
OUTPUT_BYTES = 8192
VALUE_SIZE = 16_384  # of what a filter gives: characters, or members and their characters
STEPS = 2_000  # tags, outputs, loop rounds and filters that are carried out: some 10 ms
WORK = 200_000  # characters that go through filters
# Reading a text takes long only where brackets run wild.
MARKS = {"{{": 100, "{%": 200, "[": 40}

TAGS = (
    content.Literal,
    output.Output,
    illegal.Illegal,
    AssignTag,
    BreakTag,
    CaptureTag,
    CaseTag,
    CommentTag,
    ContinueTag,
    ForTag,
    IfTag,
    InlineCommentTag,
    UnlessTag,
)
CONDITIONS = (IfNode, UnlessNode, ConditionalBlockNode, CaseNode, MultiExpressionBlockNode)
Segments = tuple[Any, ...]


class Fault(ValueError):
    """A text that cannot be a template. line: from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line, self.what = line, what


class Missing(Exception):
    """A variable has no value. name: its path, as written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is missing")
        self.name = name


class NotRenderable(ValueError):
    """The text is fine and these values are not: a number was needed, or it all grows too large."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A name the text reads, and where first. path: up to the first part that is not written out."""

    path: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    """A parsed text. cared_for: what it reads whose absence it deals with by itself: `if`, `default`."""

    source: str
    variables: tuple[Variable, ...]
    cared_for: frozenset[tuple[str, ...]]
    _template: BoundTemplate
    _plain: tuple[str | tuple[str, ...], ...]  # where it is only words and variables: these

    def render(self, values: Mapping[str, Any]) -> str:
        """Raises Missing (of a strict text), NotRenderable."""
        filled = self._filled(values) if self._plain else None
        return self._rendered(values) if filled is None else filled

    def _filled(self, values: Mapping[str, Any]) -> str | None:
        """The short way: a twentieth of the time. None: something is missing, neither text nor number, or long."""
        found = []
        for part in self._plain:
            value: Any = part
            if not isinstance(part, str):
                value = values
                for name in part:
                    value = value.get(name) if isinstance(value, dict) else None
                if type(value) is int:
                    value = str(value)
                if not isinstance(value, str):
                    return None
            found.append(value)
        text = "".join(found)
        return text if 4 * len(text) <= OUTPUT_BYTES else None

    def _rendered(self, values: Mapping[str, Any]) -> str:
        try:
            return self._template.render(values)
        except UndefinedError as error:
            raise Missing(str(error.message).removesuffix(" is undefined").strip("'")) from None
        except ResourceLimitError as error:
            raise NotRenderable(f"it grows too large: {error.message}") from None
        except LiquidError as error:
            raise NotRenderable(str(error.message)) from None
        except Exception as error:  # of a filter: whatever it met in the values
            raise NotRenderable(type(error).__name__) from None


def is_literal(source: str) -> bool:
    return "{{" not in source and "{%" not in source


def parse(source: str, *, is_strict: bool = True) -> Text:
    """is_strict: a missing variable is an error when rendered; else it is empty. Raises Fault."""
    for mark, most in MARKS.items():
        if source.count(mark) > most:
            raise Fault(_line(source, source.index(mark)), f"there are more than {most} “{mark}” in one text")
    try:
        template = (STRICT if is_strict else LENIENT).from_string(source)
    except LiquidError as error:
        raise Fault(_line_of(error, source), _words(error)) from None
    for name, spans in template.analyze().filters.items():
        if name not in FILTERS:
            raise Fault(_line(source, spans[0].index), f"there is no filter “{name}”")
    cared_for = frozenset(path.segments for path in _cared_for(template))
    return Text(source, tuple(_variables(template, source)), cared_for, template, _plain(template.nodes))


# --- the environment --------------------------------------------------------------------------


class Context(RenderContext):
    """Counts what is done."""

    __slots__ = ("_disabled", "_steps", "_work")

    @property
    def disabled_tags(self) -> list[str]:
        """Every node looks here before it renders."""
        self._step()
        return self._disabled

    @disabled_tags.setter
    def disabled_tags(self, value: list[str]) -> None:
        self._disabled, self._steps, self._work = value, 0, 0

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        self._step()
        return partial(self._filtered, super().filter(name, token))

    def _filtered(self, function: Callable[..., object], value: object, *given: Any, **named: Any) -> object:
        self._spend(value, *given)
        result = function(value, *given, **named)
        if self._spend(result) > VALUE_SIZE:
            raise ResourceLimitError("a value is too long", token=None)
        return result

    def _spend(self, *values: object) -> int:
        size = sum(map(_size, values))
        self._work += size
        if self._work > WORK:
            raise ResourceLimitError("too much text to work on", token=None)
        return size

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS:
            raise ResourceLimitError("too many steps", token=None)


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Undefined):
        return 0
    if isinstance(value, Mapping):
        return sum(map(_size, value)) + sum(map(_size, value.values()))
    if isinstance(value, Sequence):
        return sum(map(_size, value)) + len(value)
    return value.bit_length() // 3 if isinstance(value, int) else 1


class Template(BoundTemplate):
    context_class = Context


class Language(Environment):
    template_class = Template
    block_nesting_limit = 10
    output_stream_limit = OUTPUT_BYTES
    local_namespace_limit = 4 * VALUE_SIZE

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        for tag in TAGS:
            self.add_tag(tag)
        self.filters.update(FILTERS)


STRICT = Language(undefined=FalsyStrictUndefined)
LENIENT = Language(undefined=Undefined)


# --- what a text reads ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Read:
    segments: tuple[str, ...]


def _variables(template: BoundTemplate, source: str) -> Iterator[Variable]:
    for node in _nodes(template.nodes, template):
        for expression in node.expressions():
            for part in _parts(expression):
                if isinstance(part, RangeLiteral):
                    raise Fault(
                        _line(source, part.token.start_index), "ranges, as in (1..9), are not available"
                    )
    found = [variable for same in template.analyze().globals.values() for variable in same]
    for variable in sorted(found, key=lambda one: one.span.index):
        line = _line(source, variable.span.index)
        if not isinstance(variable.segments[0], str):
            raise Fault(line, "a variable begins with its name")
        yield Variable(_written(variable.segments), line)


def _plain(nodes: Sequence[Node]) -> tuple[str | tuple[str, ...], ...]:
    """Words and the paths of variables, if there is nothing else."""
    parts: list[str | tuple[str, ...]] = []
    for node in nodes:
        expression = node.expression if isinstance(node, output.OutputNode) else None
        if isinstance(node, content.ContentNode):
            parts.append(node.text)
        elif isinstance(expression, FilteredExpression) and _is_plain(expression):
            parts.append(tuple(expression.left.path))  # type: ignore[attr-defined]
        else:
            return ()
    return tuple(parts)


def _is_plain(expression: FilteredExpression) -> bool:
    left = expression.left
    return (
        not expression.filters and isinstance(left, Path) and all(isinstance(part, str) for part in left.path)
    )


def _cared_for(template: BoundTemplate) -> Iterator[_Read]:
    for node in _nodes(template.nodes, template):
        for expression in node.expressions():
            parts = list(_parts(expression)) if isinstance(node, CONDITIONS) else []
            if isinstance(expression, FilteredExpression) and expression.filters:
                parts += _parts(expression.left) if expression.filters[0].name == "default" else ()
            yield from (_Read(_written(part.location())) for part in parts if isinstance(part, Path))


def _nodes(nodes: Sequence[Node] | Any, template: BoundTemplate) -> Iterator[Node]:
    context = RenderContext(template)
    for node in nodes:
        yield node
        yield from _nodes(node.children(context), template)


def _parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in expression.children():
        yield from _parts(child)


def _written(segments: Sequence[Any]) -> tuple[str, ...]:
    end = next((place for place, part in enumerate(segments) if not isinstance(part, str)), len(segments))
    return tuple(segments[:end])


# --- where a fault is -------------------------------------------------------------------------


def _line(source: str, index: int) -> int:
    return source.count("\n", 0, max(0, index)) + 1


def _line_of(error: LiquidError, source: str) -> int:
    index = error.token.start_index if error.token else -1
    return _line(source, index if index >= 0 else len(source))


def _words(error: LiquidError) -> str:
    message = str(error.message or "this cannot be read")
    if error.token and error.token.kind == TOKEN_TAG and message.startswith("unexpected"):
        return f"there is no tag “{error.token.value}” here"
    return message.replace("liquid parsing error", "nesting").replace("expression, found", "words, found")
