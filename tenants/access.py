"""Who may do what in which application: superusers everything, Django's own permissions in all applications,
memberships (tenants/roles.py) in theirs. Every page, list, choice and count asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet

from tenants import roles
from tenants.models import Application, Membership

Person = User | AnonymousUser

_global = ModelBackend()
# Where a user object keeps what it has read of its memberships; it lives as long as a request.
_READ = "_carillon_memberships"


class MembershipBackend(BaseBackend):
    """`user.has_perm(permission, obj)`: obj is an Application or belongs to one. Without it: in any application."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if obj is None:
            return allowed(user_obj, perm)
        return allowed(user_obj, perm, application_id(obj))

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return any(
            permission.startswith(f"{app_label}.")
            for held in memberships(user_obj).values()
            for permission in held
        )

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        held = memberships(user_obj)
        if obj is not None:
            return set(held.get(application_id(obj) or 0, ()))
        return {permission for permissions in held.values() for permission in permissions}


ANYWHERE = -1


def allowed(user: Person, permission: str, application_id: int | None = ANYWHERE) -> bool:
    """In this application; None: of what belongs to none, only those who see all of them may do it."""
    if everywhere(user, permission):
        return True
    held = memberships(user)
    if application_id == ANYWHERE:
        return any(permission in permissions for permissions in held.values())
    return application_id is not None and permission in held.get(application_id, ())


def everywhere(user: Person, permission: str) -> bool:
    """In every application there is and will be."""
    if not user.is_active:
        return False
    if user.is_superuser or _global.has_perm(user, permission):
        return True
    former = roles.FORMERLY.get(permission)
    return former is not None and _global.has_perm(user, former)


def memberships(user: Person) -> Mapping[int, frozenset[str]]:
    """Application → what the person may do there. One query per user object."""
    if not user.is_active or user.is_anonymous:
        return {}
    held: dict[int, frozenset[str]] | None = getattr(user, _READ, None)
    if held is None:
        held = {}
        for id, role in Membership.objects.filter(user_id=user.pk).values_list("application_id", "role"):
            held[id] = held.get(id, frozenset()) | roles.PERMISSIONS.get(role, frozenset())
        setattr(user, _READ, held)
    return held


def ids(user: Person, *permissions: str) -> list[int] | None:
    """The applications in which the person has any of these permissions; None: in all of them."""
    if any(everywhere(user, permission) for permission in permissions):
        return None
    held = memberships(user)
    return sorted(id for id, own in held.items() if not own.isdisjoint(permissions))


def applications(user: Person, *permissions: str) -> QuerySet[Application]:
    """The applications in which the person has any of these permissions, by name."""
    return narrowed(Application.objects.all(), ids(user, *permissions), "id")


def narrowed(rows: QuerySet[Any], ids: list[int] | None, path: str = "application_id") -> QuerySet[Any]:
    """The rows of these applications; path: from a row to its application's id."""
    return rows if ids is None else rows.filter(**{f"{path}__in": ids})


def application_id(obj: Any, path: str = "application_id") -> int | None:
    """Of an object; None for what belongs to none."""
    if isinstance(obj, Application):
        return obj.pk
    for name in path.split("__"):
        obj = getattr(obj, name, None)
    return obj


def people(permission: str, application_id: int) -> QuerySet[User]:
    """Who has it there, by whatever way."""
    wanted = [one for one in (permission, roles.FORMERLY.get(permission)) if one]
    found = Q(is_superuser=True) | Q(
        pk__in=Membership.objects.filter(
            application_id=application_id, role__in=roles.having(permission)
        ).values("user_id")
    )
    for one in wanted:
        globally = User.objects.with_perm(
            one, include_superusers=False, backend="django.contrib.auth.backends.ModelBackend"
        )
        found |= Q(pk__in=globally.values("pk"))
    return User.objects.filter(found, is_active=True)


def colleagues(user: Person, *permissions: str) -> QuerySet[User]:
    """The people one may name: those with a role where one has any of these permissions oneself, and oneself."""
    own = ids(user, *permissions)
    if own is None:
        return User.objects.all()
    shared = Membership.objects.filter(application_id__in=own).values("user_id")
    return User.objects.filter(Q(pk__in=shared) | Q(pk=user.pk))
