"""The form's steps, without bot or database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.estimate import form, wording
from bot.estimate.form import Event, Form, State, Step
from bot.estimate.questions import BY_NAME, QUESTIONS
from bot.estimate.slots import Slots, Wallpaper


def after(*texts: str) -> Step:
    """Return the last step of a form that was begun without a word and answered so."""
    step = form.begin()
    for text in texts:
        step = form.write(step.form, text)
    return step


def about(name: str) -> Form:
    """Return a form that asks one question; the width is asked of 합지 only."""
    slots = Slots(wallpaper=Wallpaper.PAPER) if name == "paper_width" else Slots()
    return Form(asking=name, slots=slots)


def data(step: Step) -> list[str]:
    return [button["data"] for row in step.buttons for button in row]


def test_each_question_can_be_answered_by_each_of_its_buttons_and_their_words() -> None:
    for question in QUESTIONS:
        asked = about(question.name)
        for choice in question.choices:
            if question.is_multiple:
                continue
            pressed = form.press(asked, "set", [question.name, choice.name])
            assert pressed
            endings = ["", "이요", "으로 할게요", "로 부탁드려요"]
            for ending in endings[:2] if question.name == "region" else endings:
                written = form.write(asked, choice.label + ending)
                assert pressed.form.slots == written.form.slots, choice.label + ending
            assert set(choice.values.items()) <= set(pressed.form.slots.said().items())


def test_every_button_fits_telegrams_64_bytes() -> None:
    for question in QUESTIONS:
        step = form.press(Form(), "change", [question.name])
        assert step
        assert all(len(f"est:{2**63}:{d}".encode()) <= 64 for d in data(step))


@pytest.mark.parametrize(
    ("name", "text", "slots"),
    [
        ("wallpaper", "둘 다 섞어서요", {"wallpaper": "mixed"}),
        ("wallpaper", "2번이요", {"wallpaper": "silk"}),
        ("paper_width", "넓은 걸로요", {"paper_width": "wide"}),
        ("brand", "상관없어요", {"brand": "any"}),
        ("brand", "제일 싼 걸로요", {"brand": "standard"}),
        ("building", "카페예요", {"building": "commercial"}),
        ("area", "34", {"area": 34.0, "unit": "pyeong"}),
        ("area", "84", {"area": 84.0, "unit": "sqm"}),
        ("area", "스물넷", {"area": 24.0, "unit": "pyeong"}),
        ("area", "한 서른 평 정도", {"area": 30.0, "unit": "pyeong"}),
        ("area_basis", "실평수요", {"area_basis": "exclusive"}),
        ("ceiling", "네", {"ceiling": "full"}),
        ("ceiling", "아니요", {"ceiling": "none"}),
        ("ceiling", "거실만", {"ceiling": "partial"}),
        ("rooms", "두 개요", {"rooms": 2}),
        ("rooms", "전부 다요", {"rooms": 0}),
        ("remove_old", "네 뜯어주세요", {"remove_old": True}),
        ("remove_old", "그냥 위에 해주세요", {"remove_old": False}),
        ("occupied", "네", {"occupied": True}),
        ("occupied", "비었어요", {"occupied": False}),
        ("extras", "없어요", {"extended": False, "mould": False, "putty": False}),
        ("region", "서울 강남구 역삼동이에요", {"region": "서울 강남구 역삼동"}),
        ("timing", "급해요", {"timing": "urgent"}),
        ("timing", "3월 15일이요", {"timing_words": "3월 15일이요"}),
    ],
)
def test_direct_answers(name: str, text: str, slots: dict[str, object]) -> None:
    assert form.write(about(name), text).form.slots.said() == about(name).slots.said() | slots


def test_slots_out_of_turn_are_taken_and_not_asked_again() -> None:
    step = after("34평 빌라고 곰팡이가 있어요")
    assert step.form.asking == "wallpaper"  # still what was asked
    assert "건물: 빌라·주택 · 평수: 34평" in (step.text or "")
    step = form.write(step.form, "실크 일반으로 천장까지요")
    assert step.form.asking == "area_basis"


def test_a_question_is_no_answer_but_a_polite_answer_is() -> None:
    assert after("천장도 해야 하나요?").event == Event.CONSULT
    assert after("실크랑 합지 중에 뭐가 나아요?").event == Event.CONSULT
    polite = after("실크로 해주실 수 있나요?")
    assert polite.event is None
    assert polite.form.slots.wallpaper == "silk"
    price = after("34평 실크면 얼마예요?")
    assert price.event is None
    assert price.form.slots.area == 34


def test_two_failures_bring_a_human_and_an_answer_takes_the_offer_back() -> None:
    first, second = after("글쎄요"), after("글쎄요", "음냐음냐")
    assert (first.form.misses, second.form.misses) == (1, 2)
    assert "call" not in data(first)
    assert "call" in data(second)
    assert "예: 실크" in (first.text or "")
    assert form.write(second.form, "실크").form.misses == 0


def test_what_is_not_known_is_skipped_but_not_what_is_needed() -> None:
    step = after("실크", "잘 모르겠어요")
    assert step.form.asking == "building"
    assert step.form.skipped == ["brand"]
    assert after("잘 모르겠어요").form.asking == "wallpaper"


def test_back_goes_all_the_way_and_edit_shows_every_answer() -> None:
    step = after("실크", "일반", "아파트", "24평")
    asked = []
    while "back" in data(step):
        step = form.back(step.form)
        asked.append(step.form.asking)
    assert asked == ["area", "building", "brand", "wallpaper"]
    menu = form.edit(step.form)
    assert [d for d in data(menu) if d.startswith("change:")] == [
        *("change:wallpaper", "change:brand", "change:building", "change:area")
    ]


def test_extras_are_toggled_and_the_rest_is_none() -> None:
    asked = Form(asking="extras")
    step = form.press(asked, "toggle", ["extras", "mould"])
    assert step
    assert step.text is None  # only the buttons change
    assert "✓ 곰팡이" in str(step.buttons)
    off = form.press(step.form, "toggle", ["extras", "mould"])
    assert off
    assert "✓" not in str(off.buttons)
    done = form.press(step.form, "enough", ["extras"])
    assert done
    assert done.form.slots.said() == {"extended": False, "mould": True, "putty": False}


def test_changing_the_wallpaper_forgets_the_width() -> None:
    step = after("합지", "소폭")
    changed = form.press(step.form, "set", ["wallpaper", "silk"])
    assert changed
    assert changed.form.slots.paper_width is None


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("010-1234-5678", "010-1234-5678"),
        ("제 번호는 010 1234 5678이에요", "010-1234-5678"),
        ("+82 10-1234-5678", "010-1234-5678"),
        ("0212345678", "02-1234-5678"),
        ("031-123-4567", "031-123-4567"),
        ("1588-1234", "1588-1234"),
        ("070-1234-5678", "070-1234-5678"),
        ("1234", None),
        ("010-1234", None),
        ("010-1234-56789", None),
        ("전화번호", None),
    ],
)
def test_phone_numbers(text: str, phone: str | None) -> None:
    assert form.read_phone(text) == phone


actions = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from(
            [
                "실크",
                "합지",
                "34평",
                "0평",
                "글쎄요",
                "네",
                "없어요",
                "이전",
                "수정",
                "취소",
                "왜요?",
                "서울",
                "010-1234-5678",
                "김도배",
                "모르겠어요",
                "2번",
                "🤔",
                "다음 달",
                "얼마예요?",
            ]
        ),
    ),
    st.tuples(
        st.just("press"),
        st.sampled_from(
            [
                "back",
                "edit",
                "cancel",
                "resume",
                "now",
                "call",
                "agree",
                "refuse",
                "withdraw",
                "toggle:extras:mould",
                "enough:extras",
                "set:wallpaper:paper",
                "set:area:24",
                *(f"skip:{name}" for name in BY_NAME),
                *(f"change:{name}" for name in BY_NAME),
            ]
        ),
    ),
)


@given(st.lists(actions, max_size=40))
def test_whatever_is_done_the_form_says_something_and_can_be_stored(
    steps: list[tuple[str, str]],
) -> None:
    step = form.begin()
    for kind, what in steps:
        before = step.form
        if kind == "write" and before.state == State.ASKING:
            step = form.write(before, what)
        elif kind == "press":
            action, *rest = what.split(":")
            step = form.press(before, action, rest) or step
        assert Form.model_validate_json(step.form.model_dump_json()) == step.form
        if step.event == Event.RESULT:
            assert step.form.slots.wallpaper
            assert step.form.slots.area
        if step.form.state == State.ASKING:
            assert step.form.asking
        assert step.text or step.event == Event.RESULT or step.buttons
        if step.form.state in {State.DONE, State.CANCELLED}:
            assert (step.form.name is None) == (step.form.phone is None)


def test_the_offer_names_what_was_answered() -> None:
    step = form.offer(after("실크", "일반").form)
    assert "벽지: 실크" in (step.text or "")
    assert wording.GO_ON in str(step.buttons)


def test_asking_for_contact_has_a_way_back_and_out_too() -> None:
    done = form.press(after("34평 실크").form, "now", [])
    assert done
    consent = form.call(done.form)
    name = form.agree(consent.form)
    phone = form.write(name.form, "박서준")
    assert phone.form.asking == "phone"
    for step in (consent, name, phone):
        assert data(step)[-3:] == ["back", "edit", "cancel"]
    assert form.back(phone.form).form.asking == "name"
    assert form.back(name.form).form.asking == "consent"
    for step in (form.write(name.form, "취소"), form.cancel(phone.form), form.back(consent.form)):
        assert step.text == wording.CALL_REFUSED
        assert (step.form.state, step.form.name) == (State.DONE, None)
    menu = form.edit(phone.form)
    assert form.again(menu.form).form.asking == "phone"
