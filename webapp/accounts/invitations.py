"""Invitations: a link that gives whoever takes it a role, once, and within a week.

The key stands in the link and nowhere else; SQL has its hash. A link that is found in a backup opens nothing.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from webapp.accounts.granting import second_owner
from webapp.accounts.owners import locked_owners, require_owner
from webapp.accounts.roles import RIGHTS, TEAM, rights_of
from webapp.accounts.sessions import end_sessions
from webapp.log import Entry, record
from webapp.models import LABEL_LENGTH, OWNER, ROLES, Invitation, User, utcnow
from webapp.proposals.rule import WITHIN, Deed, ProposalRefused
from webapp.stores.sql import db
from webapp.values.texts import one_line

LASTS = timedelta(days=7)


class InvitationRefused(Exception):
    """An invitation was not taken, and why.

    `code` is one of unknown, proposed, withdrawn, used, too_old, less, blocked.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Invited:
    """An invitation as its link shows it. `state` is one of open, unknown, proposed, withdrawn, used, too_old."""

    state: str
    role: str = ""
    id: int = 0
    taken_by: int | None = None


def new_key() -> str:
    """Return a key that nobody can guess."""
    return secrets.token_urlsafe(32)


def invite(role: str, *, by: int | None, label: str = "", key: str | None = None) -> str:
    """Make an invitation to a role of ROLES, and return the key of its link, which is told only now.

    `by` is the owner who invites, None for a command; `label` says for whom it is. With the same `key` a repeat makes
    nothing. Raises RoleRefused when `by` is no owner any more, ValueError for what is no role, and Waits when another
    owner has to confirm it: until then the link opens nothing.
    """
    if role not in ROLES:
        raise ValueError(role)
    key = key or new_key()
    require_owner(by)
    told = {"role": role, "label": one_line(label)[:LABEL_LENGTH], "made_by": by}
    made = Invitation(key_hash=_hash(key), expires_at=utcnow() + LASTS, **told)
    db.session.add(made)
    try:
        db.session.flush()
    except IntegrityError:  # the first click of this form has made it
        db.session.rollback()
        made = db.session.scalars(select(Invitation).where(Invitation.key_hash == _hash(key))).one()
        if not made.proposed or made.withdrawn_at is not None:
            db.session.rollback()
            return key
    _open(made, by)
    return key


def open_proposed(invitation_id: int, *, by: int, confirms: int) -> None:
    """Have an invitation that was proposed open, for as long as any other from now on.

    Raises RoleRefused when `by` is no owner any more, and ProposalRefused: nothing is changed then.
    """
    require_owner(by)
    made = db.session.get(Invitation, invitation_id, populate_existing=True)
    if made is None or not made.proposed or made.withdrawn_at is not None:
        db.session.rollback()
        raise ProposalRefused("changed")
    _open(made, by, confirms)


def withdraw_proposed(connection: Connection, invitation_id: int, by: int | None) -> None:
    """Have an invitation whose proposal was declined or withdrawn never open. The caller commits."""
    mine = (Invitation.id == invitation_id, Invitation.proposed.is_(True))
    ended = {"withdrawn_by": by, "withdrawn_at": utcnow(), "label": ""}
    connection.execute(update(Invitation).where(*mine).values(ended))


def _open(made: Invitation, by: int | None, confirms: int | None = None) -> None:
    """Have an invitation open, or keep it closed and have it wait for another owner, as long as a proposal does."""

    def keep_closed() -> None:
        made.proposed, made.expires_at = True, utcnow() + WITHIN
        db.session.commit()

    told = {"invitation": made.id, "role": made.role}
    deed = Deed(verb="invite", roles=RIGHTS[TEAM], arguments=told, seen=str(made.id))
    both = second_owner(deed, by=by, confirms=confirms, commit=keep_closed)
    made.proposed, made.expires_at = False, utcnow() + LASTS
    db.session.flush()
    record(db.session.connection(), "invite", by=by, after={**told, **both})
    db.session.commit()


def withdraw(invitation_id: int, *, by: int | None) -> bool:
    """Have the link of an invitation open nothing any more. Return False when it was taken or withdrawn already.

    Raises RoleRefused when `by` is no owner any more.
    """
    require_owner(by)
    mine = Invitation.id == invitation_id
    ended = {"withdrawn_by": by, "withdrawn_at": utcnow(), "label": ""}
    changed = (
        db.session.connection().execute(update(Invitation).where(mine, *_UNDECIDED).values(ended)).rowcount
    )
    if changed:
        record(db.session.connection(), "withdraw invitation", by=by, before={"invitation": invitation_id})
    db.session.commit()
    return bool(changed)


def look_at(key: str) -> Invited:
    """Return the invitation of a key. One whose owner is none any more counts as withdrawn."""
    found = db.session.execute(
        select(Invitation, User.id.label("inviter"))
        .outerjoin(User, (User.id == Invitation.made_by) & (User.role == OWNER) & User.blocked_at.is_(None))
        .where(Invitation.key_hash == _hash(key))
    ).one_or_none()
    if found is None:
        return Invited("unknown")
    told, stands = found.Invitation, found.Invitation.made_by is None or found.inviter is not None
    return Invited(_state(told, stands), told.role, told.id, told.taken_by)


def take(key: str, user_id: int) -> str:
    """Give an account the role of an invitation, end its sessions, and return the role. The link opens nothing then.

    Raises InvitationRefused and changes nothing when the invitation is not open, the account is blocked, or has a right
    already that the role has not. Who has taken it and takes it again has the role already: a repeat changes nothing.
    """
    locked_owners()
    invited, user = look_at(key), db.session.get(User, user_id, populate_existing=True)
    if user and invited.taken_by == user_id and invited.role == user.role:
        db.session.rollback()
        return invited.role
    if user is None or user.blocked_at or user.rehearsal:
        raise _refused("blocked")
    if why := why_not(invited, user.role) or _use_up(invited.id, user_id):
        raise _refused(why)
    end_sessions(user_id, entry=_entry(invited, user), role=invited.role)
    return invited.role


def why_not(invited: Invited, role: str) -> str | None:
    """Return why an account with that role cannot take an invitation; None if it can.

    An invitation only adds rights: nobody takes away their own by a link that they open.
    """
    if invited.state != "open":
        return invited.state
    return None if rights_of(invited.role) > rights_of(role) else "less"


def open_invitations() -> list[Invitation]:
    """Return the invitations that can still be taken, the newest first."""
    by_owner = select(User.id).where(User.role == OWNER, User.blocked_at.is_(None))
    stands = Invitation.made_by.is_(None) | Invitation.made_by.in_(by_owner)
    still = (*_UNDECIDED, Invitation.expires_at > utcnow(), stands)
    found = list(db.session.scalars(select(Invitation).where(*still).order_by(Invitation.id.desc())))
    db.session.close()
    return found


_UNDECIDED = (
    Invitation.taken_at.is_(None),
    Invitation.withdrawn_at.is_(None),
    Invitation.proposed.is_(False),
)


def _refused(why: str) -> InvitationRefused:
    """Give back what the session holds, and return the refusal to raise."""
    db.session.rollback()
    return InvitationRefused(why)


def _use_up(invitation_id: int, user_id: int) -> str | None:
    """Write down who takes it; return "used" if somebody has. The UPDATE decides: without an owner no row is held."""
    used = {"taken_by": user_id, "taken_at": utcnow(), "label": ""}
    mine = Invitation.id == invitation_id
    changed = db.session.connection().execute(update(Invitation).where(mine, *_UNDECIDED).values(used))
    return None if changed.rowcount else "used"


def _entry(invited: Invited, user: User) -> Entry:
    after = {"invitation": invited.id, "role": invited.role}
    return Entry(verb="take invitation", by=user.id, user=user.id, before={"role": user.role}, after=after)


def _state(invitation: Invitation, stands: bool) -> str:
    if invitation.taken_at is not None:
        return "used"
    in_time = utcnow() < invitation.expires_at
    if invitation.withdrawn_at is not None or not stands or (invitation.proposed and not in_time):
        return "withdrawn"
    if invitation.proposed:
        return "proposed"
    return "open" if in_time else "too_old"


def _hash(key: str) -> str:
    # The key has 256 random bits: no salt and no slow hash is needed.
    return sha256(key.encode(errors="replace")).hexdigest()
