"""Inline keyboards, checked as Telegram checks them.

https://core.telegram.org/bots/api#inlinekeyboardmarkup
"""

from bot.playground.errors import bad_request
from bot.playground.params import Params
from bot.playground.records import Json

MAX_CALLBACK_DATA = 64  # bytes


def keyboard_of(params: Params) -> Json:
    """Return `{"reply_markup": ...}` for an inline keyboard; other keyboards leave no trace."""
    markup = params.json("reply_markup", "reply keyboard markup")
    if markup is None:
        return {}
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    rows = markup.get("inline_keyboard", [])
    if not isinstance(rows, list):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array')
    for row in rows:
        if not isinstance(row, list):
            raise bad_request(
                'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
            )
        for button in row:
            _check_button(button)
    rows = [row for row in rows if row]
    return {"reply_markup": {"inline_keyboard": rows}} if rows else {}


def _check_button(button: object) -> None:
    prefix = "can't parse inline keyboard button:"
    if not isinstance(button, dict):
        raise bad_request(f"{prefix} InlineKeyboardButton must be an Object")
    text, data, url = (button.get(name) for name in ("text", "callback_data", "url"))
    if not isinstance(text, str):
        raise bad_request(f'{prefix} Field "text" must be of type String')
    if not text.strip():
        raise bad_request("inline keyboard button text must be non-empty")
    if isinstance(url, str) and url:
        return
    if not isinstance(data, str) or not data:
        raise bad_request(f"{prefix} Text buttons are unallowed in the inline keyboard")
    if len(data.encode()) > MAX_CALLBACK_DATA:
        raise bad_request("BUTTON_DATA_INVALID")
