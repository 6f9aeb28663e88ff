"""What the two APIs of the playground answer when they refuse something."""


class BotApiError(Exception):
    """A refusal of the Bot API, with Telegram's own status code and description."""

    def __init__(self, status: int, description: str, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.retry_after = retry_after


class CustomerError(Exception):
    """A refusal of the customers' API, with a sentence for a person."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def bad_request(description: str) -> BotApiError:
    """Return the 400 that Telegram words as `Bad Request: ...`."""
    return BotApiError(400, f"Bad Request: {description}")


def conflict(description: str) -> BotApiError:
    """Return the 409 that Telegram words as `Conflict: ...`."""
    return BotApiError(409, f"Conflict: {description}")


def too_many_requests(retry_after: int) -> BotApiError:
    """Return the 429 of flood control."""
    return BotApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after)
