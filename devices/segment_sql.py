"""A checked rule tree as SQL over the aliases `d` (devices_device) and `s` (devices_subscriber); either may be NULL.

Every part is true or false, never NULL, so that `not` is what it says. EXISTS stays bare: PostgreSQL then joins it
where it can. All values are parameters; all else comes from the whitelist.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatchmethod

from devices import segment_operators as operators
from devices.models import Category, Preference
from devices.segment_operators import Kind, Parameters
from devices.segment_rules import Compared, Consents, Did, Group, Member, Node, Not

TRUE, FALSE = "(true)", "(false)"


@dataclass(slots=True)
class Writer:
    application_id: int
    put: Parameters
    is_about_devices: bool = False

    @singledispatchmethod
    def sql(self, node: Node) -> str:
        raise TypeError(type(node))

    @sql.register
    def _(self, node: Group) -> str:
        return "(" + (" OR " if node.is_any else " AND ").join(map(self.sql, node.nodes)) + ")"

    @sql.register
    def _(self, node: Not) -> str:
        return f"(NOT {self.sql(node.node)})"

    @sql.register
    def _(self, node: Compared) -> str:
        x = node.field.sql or f"(s.attributes -> {self.put(node.attribute, 'text')})"
        self.is_about_devices |= "d." in node.field.sql
        return operators.sql(node.operator, node.field.kind, x, node.value, self.put)

    @sql.register
    def _(self, node: Did) -> str:
        """So many times: that many rows are skipped and one is left. Per person by an index; LIMIT-like, so that
        the one who did it a million times costs no more."""
        if node.least == 0 and node.most is None:
            return TRUE
        found = []
        if node.least:
            found.append(f"EXISTS ({self._events(node)}{self._skipping(node.least - 1)})")
        if node.most is not None:
            found.append(f"NOT EXISTS ({self._events(node)}{self._skipping(node.most)})")
        return f"({' AND '.join(found)})"

    def _skipping(self, count: int) -> str:
        return f" OFFSET {self.put(count, 'bigint')}" if count else ""

    def _events(self, node: Did) -> str:
        put = self.put
        found = [
            "e.subscriber_id = s.id",
            f"e.application_id = {put(self.application_id, 'bigint')}",
            f"e.name = {put(node.event, 'text')}",
        ]
        if node.within:
            found.append(f"e.at >= {put(put.now - node.within, 'timestamptz')}")
        if node.between:
            first, last = node.between
            found += [f"e.at >= {put(first, 'timestamptz')}", f"e.at < {put(last, 'timestamptz')}"]
        for one in node.where:
            x = f"(e.properties -> {put(one.name, 'text')})"
            found.append(operators.sql(one.operator, Kind.JSON, x, one.value, put))
        return f"SELECT FROM devices_event e WHERE {' AND '.join(found)}"

    @sql.register
    def _(self, node: Consents) -> str:
        allowed = self._consents(node.category)
        return allowed if node.is_allowed else f"(NOT {allowed})"

    def _consents(self, category: Category) -> str:
        """As notifications/pipeline/policy.py decides."""
        if Preference.Channel.PUSH not in category.channels:
            return FALSE
        if category.default == Category.Default.FORCED:
            return TRUE
        said = (
            "EXISTS (SELECT FROM devices_preference p WHERE p.subscriber_id = s.id"
            f" AND p.category_id = {self.put(category.pk, 'bigint')} AND p.channel = 'push' AND {{}}p.is_allowed)"
        )
        is_on = category.default == Category.Default.ON
        found = f"NOT {said.format('NOT ')}" if is_on else said.format("")
        if category.kind == Category.Kind.MARKETING:
            found += " AND s.unsubscribed_at IS NULL"
        return f"({found})"

    @sql.register
    def _(self, node: Member) -> str:
        segment = self.put(node.segment_id, "bigint")
        members = (
            f"SELECT FROM devices_segmentmember m WHERE m.segment_id = {segment} AND m.subscriber_id = s.id"
        )
        return f"(EXISTS ({members}))"
