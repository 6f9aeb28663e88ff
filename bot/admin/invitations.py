"""Login links: the bot sends them to the shop's people, each good for one sign-in."""

from collections.abc import Mapping
from typing import NamedTuple

from bot import texts
from bot.admin.roles import Role
from db import access
from db.database import Work


class Invitation(NamedTuple):
    """What is sent, and what lets it in."""

    text: str
    write: Work[None]


class Invitations:
    """Makes links to the pages at `url` for those who have a role."""

    def __init__(self, roles: Mapping[int, Role], url: str) -> None:
        self._roles = roles
        self._url = url

    def invite(self, telegram_id: int) -> Invitation | None:
        """Return a new link for somebody, None for those who have no role."""
        if telegram_id not in self._roles:
            return None
        token = access.make_token()
        return Invitation(
            texts.ADMIN_LINK.format(url=f"{self._url}/login/{token}"),
            lambda c: access.offer_link(c, telegram_id, token),
        )
