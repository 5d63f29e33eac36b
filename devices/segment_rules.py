"""The rule tree of a segment: read from JSON, every fault with its place, into nodes that hold nothing unchecked.

docs/segments.md describes the grammar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from devices import segment_fields as fields
from devices import segment_values as values
from devices.models import Category, Segment
from devices.segment_fields import FIELDS, Field
from devices.segment_operators import OPERATORS, Kind, Operator
from devices.segment_values import Invalid

DEEPEST = 8  # groups in groups, segments in segments
MOST_RULES = 200  # those of the segments it names included
MOST_TIMES = 1000
MOST_WHERE = 10
ATTRIBUTE = "attribute."
ATTRIBUTE_FIELD = Field("Attribute", Kind.JSON, "")


@dataclass(frozen=True, slots=True)
class Group:
    nodes: Sequence[Node]
    is_any: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    node: Node


@dataclass(frozen=True, slots=True)
class Compared:
    """A field, or (attribute) an attribute of that name."""

    field: Field
    attribute: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Did:
    """At least and at most so many times; None: any number."""

    event: str
    least: int
    most: int | None
    within: timedelta | None = None
    between: tuple[datetime, datetime] | None = None
    where: Sequence[Property] = ()


@dataclass(frozen=True, slots=True)
class Consents:
    category: Category
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class Member:
    """Of a list, or of what a refresh found."""

    segment_id: int


Node = Group | Not | Compared | Did | Consents | Member
Fault = tuple[str, str]  # JSON pointer, what is wrong


def read(rules: Any, application_id: int, *, slug: str = "") -> tuple[Node, list[Fault]]:
    """The tree, and its faults; with any, the tree must not be used. slug: the segment's own, if it has one."""
    reader = _Reader(application_id, [slug] if slug else [])
    return reader.node(rules, "", 1), reader.faults


NOTHING = Group(())  # in place of a rule that cannot be read


@dataclass(slots=True)
class _Reader:
    application_id: int
    inside: list[str]  # slugs of the segments being read, the outermost first
    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    def refuse(self, at: str, message: str) -> Node:
        self.faults.append((at or "/", message))
        return NOTHING

    def node(self, rule: Any, at: str, depth: int) -> Node:
        self.count += 1
        if self.count > MOST_RULES:
            # Said once: what follows is not read any more.
            return (
                self.refuse(at, f"more than {MOST_RULES} rules") if self.count == MOST_RULES + 1 else NOTHING
            )
        if not isinstance(rule, Mapping):
            return self.refuse(at, "has to be an object: a rule or a group")
        kinds = [kind for kind in READERS if kind in rule]
        if len(kinds) != 1:
            return self.refuse(at, f"has to have exactly one of {', '.join(READERS)}")
        if depth > DEEPEST:
            return self.refuse(at, f"nested more than {DEEPEST} deep")
        reader, allowed = READERS[kinds[0]]
        for name in rule:
            if name not in (kinds[0], *allowed):
                self.refuse(f"{at}/{_escaped(name)}", "unknown field")
        return reader(self, rule, at, depth)

    def group(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        kind = "any" if "any" in rule else "all"
        nodes = rule[kind]
        if not isinstance(nodes, list) or not nodes:
            return self.refuse(f"{at}/{kind}", "has to be a list of at least one rule")
        read = [self.node(node, f"{at}/{kind}/{n}", depth + 1) for n, node in enumerate(nodes)]
        return Group(read, is_any=kind == "any")

    def negation(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        return Not(self.node(rule["not"], f"{at}/not", depth + 1))

    def comparison(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        name = rule["field"]
        attribute = ""
        if isinstance(name, str) and name.startswith(ATTRIBUTE):
            attribute = name.removeprefix(ATTRIBUTE)
            found = ATTRIBUTE_FIELD if self.is_name(attribute, f"{at}/field") else None
        elif isinstance(name, str) and name in FIELDS:
            found = FIELDS[name]
        else:
            return self.refuse(f"{at}/field", "there is no such field")
        compared = self.compared(found, rule, at) if found else None
        return Compared(found, attribute, *compared) if found and compared else NOTHING

    def compared(self, field: Field, rule: Mapping[str, Any], at: str) -> tuple[Operator, Any] | None:
        name = rule.get("is")
        operator = OPERATORS.get(name) if isinstance(name, str) else None
        if operator is None or field.kind not in operator.kinds:
            usable = (key for key, one in OPERATORS.items() if field.kind in one.kinds)
            self.refuse(f"{at}/is", f"has to be one of {', '.join(usable)}")
            return None
        if "value" not in rule:
            self.refuse(f"{at}/value", "missing")
            return None
        try:
            return operator, fields.checked(field, operator.takes, rule["value"])
        except Invalid as error:
            self.refuse(f"{at}/value{error.at}", str(error))
            return None

    def event(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        before = len(self.faults)
        self.is_name(rule["event"], f"{at}/event", longest=64)
        did = rule.get("did", True)
        if not isinstance(did, bool):
            self.refuse(f"{at}/did", "has to be true or false")
        least, most = self.times(rule, at, did is False)
        within, between = self.period(rule, at)
        where = self.where(rule.get("where", []), f"{at}/where")
        if len(self.faults) > before:
            return NOTHING
        return Did(rule["event"], least, most, within, between, where)

    def times(self, rule: Mapping[str, Any], at: str, never: bool) -> tuple[int, int | None]:
        if never:
            if "times" in rule:
                self.refuse(f"{at}/times", "says nothing of an event that was never done")
            return 0, 0
        if "times" not in rule:
            return 1, None
        times, at = rule["times"], f"{at}/times"
        if not isinstance(times, Mapping) or set(times) not in TIMES:
            self.refuse(at, "has to hold at_least, at_most, both of them, or exactly")
            return 1, None
        found = {}
        for name, count in times.items():
            try:
                found[name] = values.whole(count, 1 if name == "at_least" else 0, MOST_TIMES)
            except Invalid as error:
                self.refuse(f"{at}/{name}", str(error))
                return 1, None
        exactly = found.get("exactly")
        least, most = found.get("at_least", exactly or 0), found.get("at_most", exactly)
        if most is not None and least > most:
            self.refuse(at, "at_least is more than at_most")
        return least, most

    def period(
        self, rule: Mapping[str, Any], at: str
    ) -> tuple[timedelta | None, tuple[datetime, datetime] | None]:
        if "within_days" in rule and "between" in rule:
            self.refuse(f"{at}/between", "not together with within_days")
        try:
            if "within_days" in rule:
                at = f"{at}/within_days"
                return values.days(rule["within_days"]), None
            if "between" in rule:
                at = f"{at}/between"
                return None, values.period(rule["between"])
        except Invalid as error:
            self.refuse(f"{at}{error.at}", str(error))
        return None, None

    def where(self, where: Any, at: str) -> Sequence[Property]:
        if not isinstance(where, list) or len(where) > MOST_WHERE:
            self.refuse(at, f"has to be a list of at most {MOST_WHERE} comparisons")
            return ()
        return [one for n, each in enumerate(where) if (one := self.property(each, f"{at}/{n}"))]

    def property(self, rule: Any, at: str) -> Property | None:
        if not isinstance(rule, Mapping):
            self.refuse(at, "has to be an object")
            return None
        for name in rule:
            if name not in ("property", "is", "value"):
                self.refuse(f"{at}/{_escaped(name)}", "unknown field")
        is_named = self.is_name(rule.get("property"), f"{at}/property")
        compared = self.compared(ATTRIBUTE_FIELD, rule, at)
        return Property(rule["property"], *compared) if is_named and compared else None

    def consent(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        slug, is_allowed = rule["consent"], rule.get("is", True)
        if not isinstance(is_allowed, bool):
            return self.refuse(f"{at}/is", "has to be true or false")
        found = self.by_slug(Category, slug)
        if found is None:
            return self.refuse(f"{at}/consent", "there is no such category")
        return Consents(found, is_allowed)

    def segment(self, rule: Mapping[str, Any], at: str, depth: int) -> Node:
        slug, at = rule["segment"], f"{at}/segment"
        if slug in self.inside:
            return self.refuse(at, f"goes round in a circle: {' → '.join([*self.inside, slug])}")
        found = self.by_slug(Segment, slug)
        if found is None:
            return self.refuse(at, "there is no such segment")
        if found.kind == Segment.Kind.LIST:
            return Member(found.pk)
        node = self._rules_of(found, at, depth)
        return Member(found.pk) if is_kept(found) else node

    def _rules_of(self, found: Segment, at: str, depth: int) -> Node:
        """Faults in another segment are told at its name."""
        known, self.faults = self.faults, []
        self.inside.append(found.slug)
        node = self.node(found.rules, "", depth + 1)
        self.inside.pop()
        if self.faults:
            known.append((at, f"“{found.slug}” cannot be used: {': '.join(self.faults[0])}"))
        self.faults = known
        return node

    def by_slug(self, model: type[Any], slug: Any) -> Any:
        """Of this application; another's does not exist (law 7)."""
        try:
            values.text(slug)
        except Invalid:
            return None
        return model.objects.filter(application_id=self.application_id, slug=slug).first()

    def is_name(self, name: Any, at: str, longest: int = values.LONGEST_NAME) -> bool:
        try:
            values.text(name, longest)
        except Invalid as error:
            self.refuse(at, str(error))
            return False
        return True


READERS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "all": (_Reader.group, ()),
    "any": (_Reader.group, ()),
    "not": (_Reader.negation, ()),
    "field": (_Reader.comparison, ("is", "value")),
    "event": (_Reader.event, ("did", "times", "within_days", "between", "where")),
    "consent": (_Reader.consent, ("is",)),
    "segment": (_Reader.segment, ()),
}
TIMES = ({"at_least"}, {"at_most"}, {"at_least", "at_most"}, {"exactly"})


def is_kept(segment: Segment) -> bool:
    """Whether its members are in SegmentMember; else its rules are asked each time."""
    is_list = segment.kind == Segment.Kind.LIST
    return is_list or (segment.refresh_minutes is not None and segment.size is not None)


def _escaped(name: Any) -> str:
    return str(name)[:100].replace("~", "~0").replace("/", "~1")
