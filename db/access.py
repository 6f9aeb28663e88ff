"""Sign-in of the shop's people, and the log of what they did. Tokens are kept as hashes alone."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from db.models import AdminSession, AuditEntry, LoginLink, utc_now
from db.queries import storable

LINK_LIFE = timedelta(minutes=10)
SESSION_LIFE = timedelta(hours=12)
_TOKEN_BYTES = 32


class Audited(NamedTuple):
    """One line of the log."""

    at: datetime
    telegram_id: int
    action: str
    subject: str


def make_token() -> str:
    """Return a secret that fits into a link or a cookie."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def offer_link(connection: Connection, telegram_id: int, token: str) -> None:
    """Let a token sign one admin in, once and soon; what was offered them before is void."""
    now = utc_now()
    connection.execute(
        delete(LoginLink).where(
            (LoginLink.telegram_id == telegram_id) | (LoginLink.expires_at <= now)
        )
    )
    connection.execute(
        insert(LoginLink).values(
            token_hash=_hash(token), telegram_id=telegram_id, expires_at=now + LINK_LIFE
        )
    )


def sign_in(
    connection: Connection, link_token: str, session_token: str, allowed: Collection[int]
) -> bool:
    """Use up a link and begin a session of one of the allowed; return whether it did."""
    now = utc_now()
    connection.execute(delete(AdminSession).where(AdminSession.expires_at <= now))
    # One statement: of two that use the link at once, one gets nothing.
    telegram_id: int | None = connection.scalar(
        delete(LoginLink)
        .where(LoginLink.token_hash == _hash(link_token), LoginLink.expires_at > now)
        .returning(LoginLink.telegram_id)
    )
    if telegram_id is None or telegram_id not in allowed:
        return False
    connection.execute(
        insert(AdminSession).values(
            token_hash=_hash(session_token),
            telegram_id=telegram_id,
            expires_at=now + SESSION_LIFE,
        )
    )
    note(connection, telegram_id, "sign_in")
    return True


def whose(connection: Connection, session_token: str) -> int | None:
    """Return whose session a cookie is of, None where it is of none."""
    found: int | None = connection.scalar(
        select(AdminSession.telegram_id).where(
            AdminSession.token_hash == _hash(session_token), AdminSession.expires_at > utc_now()
        )
    )
    return found


def sign_out(connection: Connection, session_token: str) -> None:
    """End a session at once."""
    connection.execute(
        update(AdminSession)
        .where(AdminSession.token_hash == _hash(session_token))
        .values(expires_at=utc_now())
    )


def note(connection: Connection, telegram_id: int, action: str, subject: str = "") -> None:
    """Write down who did what."""
    connection.execute(
        insert(AuditEntry).values(
            at=utc_now(), telegram_id=telegram_id, action=action, subject=storable(subject)[:256]
        )
    )


def audit(connection: Connection, before_id: int | None, limit: int) -> list[tuple[int, Audited]]:
    """Return the newest lines of the log before one, with their ids."""
    query = select(
        AuditEntry.id,
        AuditEntry.at,
        AuditEntry.telegram_id,
        AuditEntry.action,
        AuditEntry.subject,
    ).order_by(AuditEntry.id.desc())
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    return [(row[0], Audited(*row[1:])) for row in connection.execute(query.limit(limit))]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
