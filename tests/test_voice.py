"""Voice messages end to end: real OGG/Opus through the playground's getFile, answers aloud."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from bot import texts
from bot.estimate import wording
from bot.playground import client
from bot.playground.client import Customer
from db import recordings
from db.models import Answer, Message, Recording, utc_now
from inference.speech.sound import decode
from tests.load.voice import measure as benchmark
from tests.load.voice import speak as record_espeak
from tests.modelserver import ModelServer
from tests.playground import running
from tests.shop import Shop, ask, labels, last, open_bot, open_shop, say, tap
from tests.sounds import encode, tone
from tests.speechserver import SpeechServer
from tests.test_speech import needs_whisper

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요"


@pytest.fixture
async def speech() -> AsyncIterator[SpeechServer]:
    async with SpeechServer(MOULD).serve() as server:
        yield server


def note(seconds: float = 1.5) -> bytes:
    return encode(tone(seconds))


async def speak(shop: Shop, customer: Customer, sound: bytes | None = None) -> list[client.Message]:
    """Send a voice message and return what the bot says after it, the quote first."""
    return await answers(shop, customer, await customer.voice(sound or note()))


async def sounds(shop: Shop) -> int:
    """Return how many recordings have their sound still."""
    return len(await shop.rows(select(Recording.message_id).where(Recording.content.is_not(None))))


async def answers(shop: Shop, customer: Customer, sent: client.Message) -> list[client.Message]:
    """Return all that the bot says after a message, once its turn has ended."""
    await customer.wait_for(1, after=sent.id)
    await shop.wait_until_idle()
    return [m for m in await customer.messages() if m.id > sent.id and m.sender == "bot"]


async def test_a_voice_message_is_shown_as_heard_and_answered(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful", **speech.settings()) as shop:
        customer = shop.customer(11)
        quote, answer = await speak(shop, customer)
        assert quote.text == texts.HEARD.format(text=MOULD)
        assert labels(quote) == [texts.BUTTON_MEND]
        assert "습기" in answer.text
        await shop.wait_until_idle()
        ((kind, text),) = await shop.rows(select(Message.kind, Message.text))
        assert (kind, text) == ("voice", MOULD)
        (row,) = await shop.rows(select(Recording))
        assert row.outcome == "sure"
        assert decode(row.content, most_s=60).duration_seconds == pytest.approx(1.5, abs=0.2)

        more = await say(customer, "좀 더 자세히 알려줘")  # the next text leans on what was said
        assert more.text
        assert more.text != answer.text

        mended = await tap(customer, texts.BUTTON_MEND)
        assert mended.text == texts.MEND


async def test_misheard_words_of_the_trade_are_put_right(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    speech.text = "도베 후 환기는 어떻게 하나요"
    async with shop_at(tmp_path, model, speech) as shop:
        quote, answer = await speak(shop, shop.customer(12))
        assert quote.text == texts.HEARD.format(text="도배 후 환기는 어떻게 하나요")
        assert "창문" in answer.text
        (row,) = await shop.rows(select(Recording.heard, Recording.said))
        assert tuple(row) == ("도베 후 환기는 어떻게 하나요", "도배 후 환기는 어떻게 하나요")


def shop_at(
    tmp_path: Path,
    model: ModelServer,
    speech: SpeechServer,
    **changes: Any,  # noqa: ANN401 - settings
) -> AbstractAsyncContextManager[Shop]:
    return open_shop(
        f"sqlite:///{tmp_path / 'voice.db'}",
        model,
        **{"answer_policy": "careful", **speech.settings(), **changes},
    )


async def test_the_estimates_question_is_answered_by_voice(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    async with shop_at(tmp_path, model, speech) as shop:
        customer = shop.customer(13)
        await say(customer, "/estimate")
        speech.text = "실크로 할게요"
        _, asked = await speak(shop, customer)
        assert "벽지: 실크" in asked.text
        speech.text = "스물 네평이요"
        quote, after = await speak(shop, customer)
        assert quote.text == texts.HEARD.format(text="스물네 평이요")
        assert "24평" in after.text


async def test_what_was_heard_badly_is_asked_back(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    speech.log_probability = -0.8
    async with open_shop(database_url, model, answer_policy="careful", **speech.settings()) as shop:
        customer = shop.customer(14)
        (question,) = await speak(shop, customer)
        assert question.text == texts.DID_YOU_SAY.format(text=MOULD)
        assert labels(question) == [texts.BUTTON_RIGHT, texts.BUTTON_MEND]
        assert model.requests == []  # no guess is taken for a fact
        answer = await tap(customer, texts.BUTTON_RIGHT)
        assert "습기" in answer.text
        more = await say(customer, "그건 왜 그래요?")  # leans on what was confirmed
        assert more.text != texts.UNCLEAR

        stranger = shop.customer(15)
        await say(stranger, "/start")
        with pytest.raises(client.PlaygroundError):
            await stranger.press(question.id, question.buttons[0]["data"])


@pytest.mark.parametrize(
    ("text", "log_probability", "language", "expected"),
    [
        ("시청해 주셔서 감사합니다", -0.2, "ko", texts.HEARD_NOTHING),
        ("오, 오, 오, 오, 오", -0.1, "ko", texts.HEARD_NOTHING),
        ("", -0.1, "ko", texts.HEARD_NOTHING),
        (MOULD, -1.5, "ko", texts.HEARD_NOTHING),
        ("How much is it?", -0.3, "en", texts.HEARD_FOREIGN),
    ],
)
async def test_no_phantom_reaches_the_consultation(
    text: str,
    log_probability: float,
    language: str,
    expected: str,
    tmp_path: Path,
    model: ModelServer,
    speech: SpeechServer,
) -> None:
    speech.text, speech.log_probability, speech.language = text, log_probability, language
    async with shop_at(tmp_path, model, speech) as shop:
        (answer,) = await speak(shop, shop.customer(16))
        assert answer.text == expected
        await shop.wait_until_idle()
        assert [m.text for m in await shop.customer(16).messages() if m.sender == "bot"] == [
            expected
        ]
        assert model.requests == []


async def test_each_flaw_has_its_own_answer(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    async with shop_at(tmp_path, model, speech, speech_max_s=3) as shop:
        customer = shop.customer(17)
        (silent,) = await speak(shop, customer, encode(0.0001 * tone(1.0)))
        assert silent.text == texts.HEARD_SILENCE
        (long,) = await speak(shop, customer, note(9.0))
        assert long.text == texts.HEARD_LONG.format(minutes=1)
        speech.status = 500
        (away,) = await speak(shop, customer)
        assert away.text == texts.HEARD_AWAY


def voice_update(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"voice": {"file_id": "gone", "file_unique_id": "x", "duration": 2, **fields}}


async def test_files_that_cannot_be_had(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    async with shop_at(tmp_path, model, speech) as shop:
        customer = shop.customer(18)
        for fields, expected in (
            ({"file_size": 21 * 1024 * 1024}, texts.HEARD_BIG),
            ({"duration": 1200}, texts.HEARD_LONG.format(minutes=3)),
            ({}, texts.HEARD_BROKEN),
        ):
            sent = await customer.send(raw=voice_update(**fields))
            (answer,) = await answers(shop, customer, sent)
            assert answer.text == expected
        assert speech.seconds == []


async def test_without_ears_the_bot_says_so(tmp_path: Path, model: ModelServer) -> None:
    async with open_shop(f"sqlite:///{tmp_path / 'off.db'}", model, speech="off") as shop:
        (answer,) = await speak(shop, shop.customer(19))
        assert answer.text == texts.VOICE_OFF


async def test_answers_are_spoken_on_wish(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful", **speech.settings()) as shop:
        customer = shop.customer(20)
        asked = await say(customer, "/voice")
        assert labels(asked) == [texts.BUTTON_WRITTEN, texts.BUTTON_SPOKEN]
        assert texts.NOW_WRITTEN in asked.text
        await customer.press_text(texts.BUTTON_SPOKEN)
        told, spoken = await customer.wait_for(2, after=asked.id)
        assert told.text == texts.ANSWERS_SPOKEN
        assert spoken.file

        quote, answer, aloud = await speak(shop, customer)
        assert quote.text.startswith("🗣")
        assert "습기" in answer.text
        assert aloud.file
        assert aloud.file["kind"] == "voice"
        sound = await shop.playground.download(aloud.file["url"])
        assert sound.startswith(b"OggS")
        assert decode(sound, most_s=120).duration_seconds > 5  # the answer's length, not a blip

        await say(customer, "/voice")
        await shop.wait_until_idle()  # that was spoken, too
        written = await tap(customer, texts.BUTTON_WRITTEN)
        assert written.text == texts.ANSWERS_WRITTEN
        sent = await customer.send("도배 후 환기는 어떻게 하나요?")
        await last(customer, sent.id)
        await shop.wait_until_idle()
        assert not [m for m in await customer.messages() if m.id > sent.id and m.file]


async def test_a_shop_without_a_voice_says_so(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    async with shop_at(tmp_path, model, speech, voice="off") as shop:
        assert (await say(shop.customer(21), "/voice")).text == texts.VOICE_ANSWERS_OFF


async def test_a_recording_is_heard_again_by_the_next_process(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    """The bot goes down while it listens; the next one answers, under the same notice."""
    database_url = f"sqlite:///{tmp_path / 'again.db'}"
    speech.wait_s = 30
    changes: dict[str, Any] = {"answer_policy": "careful", **speech.settings()}
    async with running() as telegram:
        customer = telegram.playground.customer(22)
        async with open_bot(telegram, database_url, model, shutdown_s=0, **changes):
            sent = await customer.voice(note())
            await speech.wait_until_asked()
        speech.wait_s = 0
        async with open_bot(telegram, database_url, model, **changes):
            quote, answer = await customer.wait_for(2, after=sent.id)
            assert quote.text == texts.HEARD.format(text=MOULD)
            assert "습기" in answer.text
            said = [m.text for m in await customer.messages() if m.sender == "bot"]
            assert len(said) == 2


async def test_sound_is_kept_no_longer_than_set(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful", **speech.settings()) as shop:
        await speak(shop, shop.customer(23))
        await shop.wait_until_idle()
        assert await sounds(shop) == 1
        long_ago = utc_now() - timedelta(days=31)
        await shop.database.run(lambda c: c.execute(update(Recording).values(heard_at=long_ago)))
        month = utc_now() - timedelta(days=30)
        assert await shop.database.run(lambda c: recordings.forget_sound(c, month)) == 1
        assert await sounds(shop) == 0
        ((said, outcome),) = await shop.rows(select(Recording.said, Recording.outcome))
        assert (said, outcome) == (MOULD, "sure")


async def test_sound_is_not_kept_where_the_shop_wants_none(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    async with shop_at(tmp_path, model, speech, speech_keep_days=0) as shop:
        await speak(shop, shop.customer(24))
        await shop.wait_until_idle()
        assert await sounds(shop) == 0


async def test_text_chats_do_not_wait_for_sound(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    speech.wait_s = 3
    async with shop_at(tmp_path, model, speech) as shop:
        talker, writer = shop.customer(25), shop.customer(26)
        await talker.voice(note())
        await speech.wait_until_asked()
        async with asyncio.timeout(2.5):
            answer = await say(writer, "도배 후 환기는 어떻게 하나요?")
        assert "창문" in answer.text
        await talker.wait_for(2, after=1)


async def test_a_spoken_request_fills_the_estimate(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    speech.text = "34평 아파트 실크로 천장까지 얼마예요?"
    async with shop_at(tmp_path, model, speech) as shop:
        _, answer = await speak(shop, shop.customer(27))
        assert "34평" in answer.text
        assert "실크" in answer.text


async def test_what_was_confirmed_counts_once(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    """A hasty customer presses twice: the second press comes before the button is gone."""
    speech.log_probability = -0.8
    async with shop_at(tmp_path, model, speech) as shop:
        customer = shop.customer(28)
        (question,) = await speak(shop, customer)
        yes = question.buttons[0]["data"]
        await asyncio.gather(*(customer.press(question.id, yes) for _ in range(2)))
        await ask(customer, "/help", answers=2)  # after which nothing more can come
        await shop.wait_until_idle()
        said = [m.text for m in await customer.messages() if m.from_bot and m.id > question.id]
        assert len(said) == 2
        assert said[-1] == texts.HELP


async def test_nobody_confirms_what_another_said(
    tmp_path: Path, model: ModelServer, speech: SpeechServer
) -> None:
    speech.log_probability = -0.8
    async with shop_at(tmp_path, model, speech) as shop:
        one = shop.playground.customer(-30)
        other = shop.playground.customer(-30, user=32)
        (question,) = await speak(shop, one)
        yes = question.buttons[0]["data"]
        await other.press(question.id, yes)
        # The chat's order: an answer to the press would stand before this one.
        after = await say(other, "/help")
        assert [m.id for m in await one.messages() if m.from_bot and m.id > question.id] == [
            after.id
        ]
        await one.press(question.id, yes)
        assert "습기" in (await last(one, after.id)).text


async def test_a_spoken_name_and_number_are_forgotten(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    async with open_shop(
        database_url, model, admins=[61], answer_policy="careful", **speech.settings()
    ) as shop:
        await say(shop.customer(61), "/start")
        customer = shop.customer(29)
        first = await say(customer, "34평 아파트 실크로 천장까지 얼마예요?")
        await customer.press_text(wording.NOW)
        await customer.wait_for(3, after=first.id)
        await tap(customer, wording.CALL)
        await tap(customer, wording.AGREE)
        speech.text = "박서준입니다"
        assert (await speak(shop, customer))[-1].text == wording.ASK_PHONE
        speech.text, speech.log_probability = "010 2345 9876 이요", -0.8
        (question,) = await speak(shop, customer)
        assert "9876" in question.text
        assert "끝자리 9876" in (await tap(customer, texts.BUTTON_RIGHT)).text
        await shop.wait_until_idle()
        kept = [m.text for m in await shop.rows(select(Message))]
        kept += [f"{a.text} {a.more}" for a in await shop.rows(select(Answer))]
        kept += [f"{r.heard} {r.said}" for r in await shop.rows(select(Recording))]
        kept = [text.replace("끝자리 9876", "") for text in kept]
        assert not [text for text in kept if "박서준" in text or "9876" in text]
        assert await sounds(shop) == 0


@pytest.mark.model
@needs_whisper
async def test_the_benchmark_runs() -> None:
    """`python -m tests.load.voice` with few notes; that it can be run at all, not how fast."""
    times = await benchmark(record_espeak(), notes=2, least=3)
    assert {"alone", "beside texts", "beside notes"} < set(times)
    assert all(min(each) > 0 for each in times.values())
