"""What the playground's Bot API takes and refuses, with the real one's words."""

import asyncio
from typing import Any

import aiohttp
import imageio_ffmpeg
import pytest
from telegram import (
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    ReplyParameters,
)
from telegram.error import (
    BadRequest,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    NetworkError,
    TelegramError,
)

from bot.playground.client import Customer, PlaygroundError
from tests.playground import PNG, TOKEN, Running, bot_at, one_button, texts

# Refusals


async def refusal(call: Any) -> str:  # noqa: ANN401 - any awaitable of python-telegram-bot
    with pytest.raises(TelegramError) as caught:
        await call
    return f"{type(caught.value).__name__}: {caught.value.message}"


async def test_wrong_token_and_unknown_method(server: Running) -> None:
    with pytest.raises(InvalidToken):
        async with bot_at(server.url, "7:WRONG"):
            pass
    with pytest.raises(EndPointNotFound):
        await server.bot.do_api_request("sendNothing")


async def test_refusals_on_the_wire(server: Running) -> None:
    """python-telegram-bot changes the case of what it is told; this is Telegram's own."""
    url = f"{server.url}/bot{TOKEN}/SENDMESSAGE"
    async with aiohttp.ClientSession() as session:
        for call in (
            session.get(url, params={"chat_id": "5", "text": "?"}),
            session.post(url, data={"chat_id": "5", "text": "?"}),
            session.post(url, json={"chat_id": 5, "text": "?"}),
            session.post(
                url, data=aiohttp.FormData({"chat_id": "5", "text": "?"}, default_to_multipart=True)
            ),
        ):
            async with call as response:
                assert (response.status, await response.json()) == (
                    400,
                    {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"},
                )
        async with session.post(url, data=b"{", headers={"Content-Type": "application/json"}) as r:
            assert r.status == 400
        async with session.post(url, json={"chat_id": 5, "text": "\ud800"}) as response:
            assert response.status == 400
        async with session.get(f"{server.url}/bot7:WRONG/getMe") as response:
            assert (await response.json())["description"] == "Unauthorized"


async def test_texts_telegram_refuses(server: Running, customer: Customer) -> None:
    bot = server.bot
    emoji = "😀" * 4096  # counted by the real server as 4,096
    assert (await bot.send_message(1001, emoji)).text == emoji
    said = {
        "empty": await refusal(bot.send_message(1001, "")),
        "blank": await refusal(bot.send_message(1001, " \n ")),
        "long": await refusal(bot.send_message(1001, emoji + "!")),
        "mode": await refusal(bot.send_message(1001, "*", parse_mode="MarkdownV2")),
        "draft id": await refusal(bot.send_message_draft(1001, 0, "글")),
        "long draft": await refusal(bot.send_message_draft(1001, 1, "가" * 4097)),
        "caption": await refusal(bot.send_photo(1001, PNG, caption="가" * 1025)),
    }
    assert said == {
        "empty": "BadRequest: Message text is empty",
        "blank": "BadRequest: Text must be non-empty",
        "long": "BadRequest: Message is too long",
        "mode": "BadRequest: Unsupported parse_mode (the playground understands html only)",
        "draft id": "BadRequest: Textdraft_id_invalid",
        "long draft": "BadRequest: Message_too_long",
        "caption": "BadRequest: Message caption is too long",
    }
    assert len(await customer.messages()) == 2


async def test_chats_telegram_refuses(server: Running, customer: Customer) -> None:
    bot = server.bot
    assert await refusal(bot.send_message(4242, "?")) == "BadRequest: Chat not found"
    assert await refusal(bot.send_message("@nobody", "?")) == "BadRequest: Chat not found"
    stranger = await server.playground.new_chat("아직")
    with pytest.raises(Forbidden, match="bot can't initiate conversation with a user"):
        await bot.send_message(stranger.chat_id, "먼저 말 걸기")
    await customer.block()
    with pytest.raises(Forbidden, match="bot was blocked by the user"):
        await bot.send_message(1001, "?")
    await customer.block(False)
    await bot.send_message(1001, "!")


@pytest.mark.parametrize(
    ("button", "said"),
    [
        (InlineKeyboardButton("가", callback_data="가" * 22), "Button_data_invalid"),
        (InlineKeyboardButton("가", callback_data=""), "text buttons are unallowed"),
        (InlineKeyboardButton("가"), "text buttons are unallowed"),
        (InlineKeyboardButton(" ", callback_data="a"), "button text must be non-empty"),
    ],
)
async def test_buttons_telegram_refuses(
    server: Running, customer: Customer, button: InlineKeyboardButton, said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        await server.bot.send_message(1001, "?", reply_markup=InlineKeyboardMarkup([[button]]))
    assert len(await customer.messages()) == 1


async def test_edits(server: Running, customer: Customer) -> None:
    bot = server.bot
    sent = await bot.send_message(1001, "처음", reply_markup=one_button())
    edited = await bot.edit_message_text(" 다음 ", 1001, sent.message_id)
    assert isinstance(edited, type(sent))
    assert (edited.text, edited.reply_markup) == ("다음", None)
    shown = (await customer.messages())[-1]
    assert (shown.text, shown.edited, shown.buttons) == ("다음", True, [])
    question = (await customer.messages())[0]
    long = bot.edit_message_text("가" * 4097, 1001, sent.message_id)
    photo = await bot.send_photo(1001, PNG)
    said = [
        await refusal(bot.edit_message_text("다음", 1001, sent.message_id)),
        await refusal(bot.edit_message_reply_markup(1001, sent.message_id)),
        await refusal(bot.edit_message_text("다음", 1001, 999)),
        await refusal(bot.edit_message_text("다음", 1001, question.id)),
        await refusal(long),
        await refusal(bot.edit_message_text("다음", 1001, photo.message_id)),
    ]
    same = (
        "BadRequest: Message is not modified: specified new message content and reply markup are "
        "exactly the same as a current content and reply markup of the message"
    )
    assert said == [
        same,
        same,
        "BadRequest: Message to edit not found",
        "BadRequest: Message can't be edited",
        "BadRequest: Message_too_long",
        "BadRequest: There is no text in the message to edit",
    ]


async def test_deleting(server: Running, customer: Customer) -> None:
    sent = await server.bot.send_message(1001, "지울 글")
    await server.bot.delete_message(1001, sent.message_id)
    assert await texts(customer) == ["안녕하세요"]
    with pytest.raises(BadRequest, match="Message to delete not found"):
        await server.bot.delete_message(1001, sent.message_id)


async def test_replies(server: Running, customer: Customer) -> None:
    (question,) = await customer.messages()
    answer = await server.bot.send_message(
        1001, "네", reply_parameters=ReplyParameters(question.id)
    )
    assert answer.reply_to_message
    assert answer.reply_to_message.text == "안녕하세요"
    assert (await customer.messages())[-1].reply_to == question.id
    with pytest.raises(BadRequest, match="Message to be replied not found"):
        await server.bot.send_message(1001, "네", reply_parameters=ReplyParameters(999))
    lax = ReplyParameters(999, allow_sending_without_reply=True)
    assert not (await server.bot.send_message(1001, "네", reply_parameters=lax)).reply_to_message


# Files


async def test_files_go_down_and_up(server: Running, customer: Customer) -> None:
    await customer.document("계약서".encode(), "계약서.txt")
    await customer.photo(PNG)
    _, first, second = await server.bot.get_updates()
    assert first.message
    assert first.message.document
    assert first.message.document.file_name == "계약서.txt"
    got = await (await first.message.document.get_file()).download_as_bytearray()
    assert bytes(got) == "계약서".encode()
    assert second.message
    assert [(size.width, size.height) for size in second.message.photo] == [(3, 2)]
    sent = await server.bot.send_document(1001, b"%PDF-1", filename="견적.pdf", caption="견적")
    assert sent.document
    again = await server.bot.send_document(1001, sent.document.file_id)
    assert again.document == sent.document
    *_, shown = await customer.messages()
    assert shown.file
    assert (shown.file["name"], shown.file["kind"], shown.file["mime"]) == (
        "견적.pdf",
        "document",
        "application/pdf",
    )
    assert await server.playground.download(shown.file["url"]) == b"%PDF-1"


async def test_file_sizes_telegram_refuses(server: Running, customer: Customer) -> None:
    with pytest.raises(NetworkError, match="Request Entity Too Large"):
        await server.bot.send_document(1001, b"\0" * (50 * 1024 * 1024 + 1))
    await customer.document(b"\0" * (20 * 1024 * 1024 + 1), "큰것.bin")
    *_, update = await server.bot.get_updates()
    assert update.message
    assert update.message.document
    with pytest.raises(BadRequest, match="File is too big"):
        await update.message.document.get_file()


async def test_files_telegram_refuses(server: Running, customer: Customer) -> None:
    bot = server.bot
    assert await refusal(bot.send_photo(1001, b"text")) == "BadRequest: Image_process_failed"
    assert await refusal(bot.send_document(1001, b"")) == "BadRequest: File must be non-empty"
    assert await refusal(bot.get_file("nothing")) == "BadRequest: Invalid file_id"
    with pytest.raises(BadRequest, match="Wrong remote file identifier"):
        await bot.send_voice(1001, "nothing")


async def recording(kind: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-v", "error", "-f", "lavfi", "-i", "sine=duration=2", "-f", kind, "-y", "pipe:1"),
        stdout=asyncio.subprocess.PIPE,
    )
    data, _ = await process.communicate()
    return data


@pytest.mark.parametrize("kind", ["wav", "webm"])
async def test_recording_becomes_a_voice_note(server: Running, kind: str) -> None:
    customer = server.playground.customer(1001)
    sent = await customer.voice(await recording(kind))
    (update,) = await server.bot.get_updates()
    assert update.message
    voice = update.message.voice
    assert voice
    assert (voice.mime_type, voice.to_dict()["duration"], voice.file_size) == (
        "audio/ogg",
        2,
        sent.file and sent.file["size"],
    )
    opus = bytes(await (await voice.get_file()).download_as_bytearray())
    assert opus.startswith(b"OggS")
    assert b"OpusHead" in opus[:100]
    back = await server.bot.send_voice(1001, opus)
    assert back.voice
    assert back.voice.to_dict()["duration"] == 2


async def test_conversion_that_takes_too_long(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.playground.media.CONVERSION_LIMIT_S", 0.001)
    with pytest.raises(PlaygroundError, match="400"):
        await customer.voice(await recording("wav"))
    assert len(await customer.messages()) == 1


# Formatting


async def test_html_becomes_entities(server: Running, customer: Customer) -> None:
    sent = await server.bot.send_message(
        1001,
        ' 😀<b>굵게 <i>둘</i></b> &lt;a&gt; <a href="https://e.com/?a=1&amp;b=2">링크</a>'
        '<pre><code class="language-py">x = 1</code></pre>',
        parse_mode="HTML",
    )
    assert sent.text == "😀굵게 둘 <a> 링크x = 1"
    assert [(e.type, sent.parse_entity(e), e.url or e.language) for e in sent.entities] == [
        ("bold", "굵게 둘", None),
        ("italic", "둘", None),
        ("text_link", "링크", "https://e.com/?a=1&b=2"),
        ("pre", "x = 1", "py"),
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<div>글</div>", 'Unsupported start tag "div" at byte offset 0'),
        ("1 < 2", 'Unsupported start tag "" at byte offset 2'),
        ("<b>글", 'Can\'t find end tag corresponding to start tag "b"'),
        ("글</b>", "Unexpected end tag at byte offset 3"),
        ("<b><i>글</b>", 'Unmatched end tag at byte offset 9, expected "</i>", found "</b>"'),
    ],
)
async def test_broken_html_is_refused(
    server: Running, customer: Customer, source: str, said: str
) -> None:
    expected = f"BadRequest: can't parse entities: {said}"
    said_now = await refusal(server.bot.send_message(1001, source, parse_mode="HTML"))
    assert said_now.lower() == expected.lower()
