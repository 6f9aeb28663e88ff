"""Who of the shop may do what on the pages."""

from enum import IntEnum

from bot.settings import Settings


class Role(IntEnum):
    """Each may do all that those before it may."""

    VIEWER = 1  # read
    REVIEWER = 2  # judge and correct answers, talk to customers
    ADMIN = 3  # change knowledge, export, read the log


def roles_of(settings: Settings) -> dict[int, Role]:
    """Return each person's role by Telegram id; of several the highest."""
    return {
        **dict.fromkeys(settings.viewers, Role.VIEWER),
        **dict.fromkeys(settings.reviewers, Role.REVIEWER),
        **dict.fromkeys(settings.admins, Role.ADMIN),
    }
