"""The form's steps, without bot or database."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.estimate import form, wording
from bot.estimate.contact import read_phone
from bot.estimate.questions import BY_NAME, QUESTIONS
from bot.estimate.slots import Slots, Wallpaper
from bot.estimate.state import Event, Form, State, Step


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
        ("timing", "지금이요", {"timing": "urgent"}),
        ("area", "전용 기준 59", {"area": 59.0, "unit": "sqm", "area_basis": "exclusive"}),
        ("area", "1번", {"area": 18.0, "unit": "pyeong"}),
        ("area_basis", "전용 기준이요", {"area_basis": "exclusive"}),
        ("wallpaper", "이유는 없고 그냥 실크요", {"wallpaper": "silk"}),
        ("ceiling", "ㅇㅇ", {"ceiling": "full"}),
        ("ceiling", "네 해주세요", {"ceiling": "full"}),
        ("ceiling", "안 할래요", {"ceiling": "none"}),
        ("ceiling", "전부 빼주세요", {"ceiling": "none"}),
        ("ceiling", "천장은 됐어요", {"ceiling": "none"}),
        ("rooms", "네 다 해주세요", {"rooms": 0}),
        ("rooms", "한 번에 다요", {"rooms": 0}),
        ("remove_old", "뜯을 필요 없어요", {"remove_old": False}),
        ("remove_old", "이미 다 뜯었어요", {"remove_old": False}),
        ("remove_old", "뜯지 말고 위에 해주세요", {"remove_old": False}),
        ("occupied", "짐은 다 뺄 거예요", {"occupied": False}),
        ("occupied", "빈집 아니에요", {"occupied": True}),
        ("extras", "1번", {"extended": True}),
        ("region", "서울\n광고 evil.example", {"region": "서울 광고 evil.example"}),
    ],
)
def test_direct_answers(name: str, text: str, slots: dict[str, object]) -> None:
    assert form.write(about(name), text).form.slots.said() == about(name).slots.said() | slots


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("area", "네"), ("area", "네 글쎄요"), ("area", "9" * 30 + "평"), ("rooms", "네")),
        *(("region", "안녕하세요"), ("brand", "너무 비싼 건 싫어요")),
        *(("timing", "급하지 않아요"), ("timing", "일주일 넘게 남았어요")),
    ],
)
def test_no_answers(name: str, text: str) -> None:
    step = form.write(about(name), text)
    assert step.form.slots == about(name).slots
    assert step.form.misses == 1


@pytest.mark.parametrize("name", ["region", "area", "name", "phone"])
def test_a_wish_for_a_human_is_no_answer_and_no_miss(name: str) -> None:
    asked = about(name)
    step = form.write(asked, "사람이랑 통화하고 싶어요")
    assert (step.form, step.event) == (asked, Event.CONSULT)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        *("전용" + " " * 998, "실크" + "부탁" * 450 + "?", "가" + " " * 997 + "나", "십" * 1000),
        *("1" * 1000, "전용 이십사 " * 140, "34평 " * 250, "에요" * 500, "가" * 1000, "한 " * 500),
    ],
)
def test_no_text_stalls_the_reading(text: str) -> None:
    for question in QUESTIONS:
        form.write(about(question.name), text)


def test_a_new_area_does_not_keep_the_old_basis() -> None:
    step = after("84타입 아파트 실크", "34평이요")
    assert (step.form.slots.area, step.form.slots.area_basis) == (34, None)
    told = form.write(step.form.but(asking="area_basis"), "공급")
    same = form.write(told.form.but(asking="area"), "34평")
    assert same.form.slots.area_basis == "supply"


def test_a_whole_new_request_is_taken_in_the_middle() -> None:
    step = form.write(about("brand"), "24평 빌라 합지로 하면 얼마예요?")
    assert step.event is None
    assert step.form.slots.said() == {
        **{"wallpaper": "paper", "building": "house", "area": 24.0, "unit": "pyeong"}
    }


@pytest.mark.parametrize(
    "name", ["김하나", "정은지", "김나은", "이유진", "박기준", "제갈민수", "Kim Dobae"]
)
def test_names_are_names(name: str) -> None:
    asked = form.agree(form.call(after("실크").form).form).form
    for text in (name, f"{name}입니다", f"저는 {name}이에요"):
        assert form.write(asked, text).form.name == name


def test_a_number_is_found_in_a_sentence_and_never_consulted() -> None:
    asked = Form(asking="phone", name="박서준")
    step = form.write(asked, "제 번호는 010-1234-5678인데 언제 연락 주시나요?")
    assert step.form.phone == "010-1234-5678"
    assert form.write(asked, "010-1234-567 맞나요?").event is None
    assert form.write(asked, "왜 번호가 필요한가요?").event == Event.CONSULT


def test_old_buttons_take_no_callback_back_unheard() -> None:
    """Once the shop is told, only withdrawing forgets the number, and that is told as well."""
    asked = Form(asking="phone", name="박서준", slots=after("실크").form.slots)
    called = form.write(asked, "02-123-4567")
    assert called.event == Event.CALL
    for action in ("refuse", "agree", "call"):
        step = form.press(called.form, action, [])
        assert step
        assert step.form.phone == "02-123-4567"
    resumed = form.again(called.form)
    dropped = form.cancel(resumed.form)
    assert (dropped.event, dropped.form.phone) == (Event.WITHDRAW, None)
    assert wording.CALL_WITHDRAWN in (dropped.text or "")


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
    mixed = after("실크", "등급은 모르겠고 천장은 빼주세요")
    assert mixed.form.slots.ceiling == "none"
    assert mixed.form.skipped == []


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
        ("０１０-1234-5678", "010-1234-5678"),
        ("0507-1234-5678", "0507-1234-5678"),
        ("010-1234-5678 오후 3시 이후요", "010-1234-5678"),
        ("전화번호", None),
    ],
)
def test_phone_numbers(text: str, phone: str | None) -> None:
    assert read_phone(unicodedata.normalize("NFKC", text)) == phone


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
                "drop",
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
        if step.text and any(d.startswith("set:") for d in data(step)):
            assert step.form.state == State.ASKING  # what is asked is listened to
        if before.phone and not step.form.phone:
            assert step.event == Event.WITHDRAW
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
