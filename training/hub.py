"""The model hub, and doing without it."""

import httpx
from huggingface_hub import constants

_TIMEOUT_S = 10.0


def leave_unreachable() -> None:
    """Where the hub does not answer, go by what was fetched before.

    Its client would try for a minute, and for each file again.
    """
    if constants.HF_HUB_OFFLINE:
        return
    try:
        httpx.head(constants.ENDPOINT, timeout=_TIMEOUT_S)
    except httpx.HTTPError:
        constants.HF_HUB_OFFLINE = True
