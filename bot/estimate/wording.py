"""What the bot says around an estimate, in Korean."""

from collections.abc import Collection

from bot.estimate.pricing import Estimate, Item, Package, Quantity, Range
from bot.estimate.questions import BY_NAME, QUESTIONS, Question
from bot.estimate.slots import SLOTS, Brand, Slots, Unit, Wallpaper

INTRO = "도배 견적을 함께 내 볼게요. 버튼을 누르거나 글로 답해 주세요."
TAKEN = "✔ {taken}"
NOT_UNDERSTOOD = "죄송해요, 잘 알아듣지 못했어요. 이렇게 알려 주세요. ({example})"
STILL_NOT_UNDERSTOOD = "제가 자꾸 못 알아듣네요. 아래 버튼에서 골라 주시면 바로 알아들을 수 있어요."
NO_SUCH_AREA = (
    "그 넓이로는 견적을 낼 수 없어요. 1평에서 1,000평 사이로 다시 알려 주세요. ({example})"
)
EDIT = "무엇을 고칠까요? 고치고 싶은 답을 눌러 주세요."
NOTHING_TO_EDIT = "아직 답하신 것이 없어요."
CANCELLED = "견적을 그만둘게요. 다시 하고 싶으시면 언제든 /estimate 를 보내 주세요."
OFFER = "쓰다 만 견적이 있어요. 이어서 할까요?\n\n{summary}"
NOTHING = "없음"
NOTHING_YET = "아직 아무것도 답하지 않으셨어요."
ESTIMATES = "지금까지 낸 견적이에요. 눌러서 열어 보세요."
NO_ESTIMATES = "아직 낸 견적이 없어요. /estimate 를 보내시면 바로 시작할게요."
NO_DOCUMENT = "견적서를 그리지 못했어요. 잠시 뒤에 ‘📄 견적서’를 눌러 주세요."
CONTACT = "📞 {name} · {phone}"
CAPTION = "도배 견적 {total}"
HAS_ENDED = "이 견적은 지워졌거나 쓸 수 없어요. /estimate 로 새로 시작해 주세요."

CONSENT = (
    "가게에서 연락드리려면 개인정보 수집에 동의해 주셔야 해요.\n\n"
    "• 모으는 것: 이름, 전화번호\n"
    "• 쓰는 곳: 이 견적에 대한 상담 연락\n"
    "• 보관: ‘연락 요청 취소’를 누르실 때까지. 누르시면 바로 지워요.\n\n"
    "동의하지 않으셔도 견적은 그대로 보실 수 있어요. 동의하시겠어요?"
)
CONSENT_UNCLEAR = "‘동의해요’ 또는 ‘안 할래요’로 답해 주세요."
ASK_NAME = "성함을 알려 주세요."
ASK_PHONE = "연락받으실 전화번호를 알려 주세요. (예: 010-1234-5678)"
NAME_UNCLEAR = "성함만 짧게 적어 주세요. (예: 김도배)"
PHONE_UNCLEAR = "전화번호를 읽지 못했어요. 010-1234-5678처럼 적어 주세요."
CALL_REFUSED = "네, 연락처는 받지 않을게요. 견적은 그대로 있어요."
CALL_REQUESTED = (
    "📞 연락 요청을 받았어요. 가게에서 끝자리 {end} 번호로 연락드릴게요.\n"
    "마음이 바뀌시면 ‘연락 요청 취소’를 눌러 주세요."
)
CALL_WITHDRAWN = "연락 요청을 취소하고 이름과 전화번호를 지웠어요."
SHOP_CALL = "📞 **연락 요청**\n{name} · {phone}\n\n{summary}\n\n{total}\n견적 보기: {link}"
SHOP_WITHDRAWN = "🚫 연락 요청이 취소되었어요 (견적 {number})."
NO_TOTAL = "아직 금액을 내기 전이에요."

BACK, EDIT_BUTTON, CANCEL = "⬅ 이전", "✏️ 수정", "❌ 취소"
SKIP, NOW, DONE = "잘 모르겠어요", "⏭ 지금 견적 보기", "다 골랐어요"
HUMAN, CALL, WITHDRAW = "👩‍🔧 사람과 이야기하기", "📞 연락 받기", "연락 요청 취소"
AGREE, REFUSE = "동의해요", "안 할래요"
GO_ON, START_NEW, GIVE_UP = "이어서 하기", "새로 하기", "그만두기"
QUOTE, OPEN, AGAIN = "📄 견적서", "견적 열기", "🔄 다시 계산"

ITEMS = {
    Item.WALLPAPER: "벽지",
    Item.LABOUR: "인건비",
    Item.SUNDRIES: "부자재",
    Item.REMOVAL: "기존 벽지 철거·폐기물",
    Item.MOVING: "짐 옮기기",
    Item.EXTENDED: "발코니 확장",
    Item.MOULD: "곰팡이 처리",
    Item.PUTTY: "퍼티",
    Item.URGENT: "급한 공사",
    Item.VAT: "부가세",
}
VISIT = "정확한 금액은 방문해서 확인한 뒤 정해져요."
_WALLPAPERS = {Wallpaper.PAPER: "합지", Wallpaper.SILK: "실크", Wallpaper.MIXED: "합지+실크"}
_BRANDS = {Brand.STANDARD: "일반", Brand.PREMIUM: "프리미엄", Brand.ANY: "무관"}


def amount(won: int) -> str:
    """Return an amount in 만 원, to the nearest."""
    return f"{(won + 5_000) // 10_000:,}만"


def total(total: Range) -> str:
    """Return a range such as 245만~333만 원."""
    low, high = amount(total.low), amount(total.high)
    return f"{low} 원" if low == high else f"{low}~{high} 원"


def won(line: Range) -> str:
    """Return a range in whole won."""
    if line.low == line.high:
        return f"{line.low:,}원"
    return f"{line.low:,}~{line.high:,}원"


def quantity(quantity: Quantity, unit: str) -> str:
    """Return a quantity such as 5.5~6인·일."""
    low, high = (f"{n:,.1f}".removesuffix(".0") for n in (quantity.low, quantity.high))
    return f"{low}{unit}" if low == high else f"{low}~{high}{unit}"


def answer(question: Question, slots: Slots) -> str | None:
    """Return what was answered to a question, None where nothing was."""
    if not question.is_answered(slots) and not any(getattr(slots, s) for s in question.slots):
        return None
    match question.name:
        case "area":
            return area(slots)
        case "rooms":
            return f"방 {slots.rooms}개" if slots.rooms else "전체"
        case "extras":
            chosen = [c.label for c in question.choices if getattr(slots, c.name)]
            return "·".join(chosen) or NOTHING
        case "timing" if slots.timing_words:
            return slots.timing_words
        case "region":
            return slots.region
        case _:
            value = getattr(slots, question.slots[0])
            return next(c.label for c in question.choices if value in c.values.values())


def area(slots: Slots) -> str:
    """Return the area as it was given; ㎡ with the 평 beside it."""
    number = f"{slots.area:g}"
    if slots.unit == Unit.SQM:
        return f"{number}㎡(약 {round(slots.pyeong or 0)}평)"
    return f"{number}평"


def answers(slots: Slots, names: Collection[str] = SLOTS) -> list[tuple[str, str]]:
    """Return label and answer of each question about slots of `names` that is answered."""
    return [
        (question.label, text)
        for question in QUESTIONS
        if question.when(slots)
        and not set(question.slots).isdisjoint(names)
        and (text := answer(question, slots)) is not None
    ]


def summary(slots: Slots) -> str:
    """Return what was answered, a line each."""
    return "\n".join(f"• {label}: {text}" for label, text in answers(slots)) or NOTHING_YET


def title(slots: Slots) -> str:
    """Return the work in a few words."""
    words = [text for name in ("building", "area", "wallpaper") if (text := _short(name, slots))]
    return " ".join(words) or "쓰는 중인 견적"


def _short(name: str, slots: Slots) -> str | None:
    return next(answer(q, slots) for q in QUESTIONS if q.name == name)


def package(package: Package) -> str:
    """Return the name of a package, such as 실크 프리미엄."""
    return f"{_WALLPAPERS[package.wallpaper]} {_BRANDS[package.brand]}"


def quantities(estimate: Estimate) -> str:
    """Return what the sum was reckoned from."""
    return (
        f"도배평수 {quantity(estimate.papered, '평')}, 벽지 {quantity(estimate.rolls, '롤')}, "
        f"기술자 {quantity(estimate.days, '인·일')}"
    )


def assumed(estimate: Estimate) -> str:
    """Return what was assumed since the customer did not say, empty where nothing was."""
    names = set(estimate.assumed) & _WORTH_SAYING
    return ", ".join(f"{label} {text}" for label, text in answers(estimate.slots, names))


def brief(estimate: Estimate) -> str:
    """Return what the customer asked for in one line."""
    return " · ".join(
        f"{label} {text}" if label in _UNCLEAR_ALONE else text
        for label, text in answers(estimate.slots, given(estimate))
        if text != NOTHING
    )


_UNCLEAR_ALONE = {BY_NAME[name].label for name in ("ceiling", "remove_old", "rooms")}


def shorten(text: str, length: int) -> str:
    """Return `text`, cut to a length with a mark of it."""
    return text if len(text) <= length else text[: length - 1].rstrip(" ·") + "…"


def given(estimate: Estimate) -> set[str]:
    """Return the slots that the customer filled."""
    return set(SLOTS) - set(estimate.assumed)


# What is worth saying of what was assumed; that there is no 곰팡이 goes without saying.
_WORTH_SAYING = {"brand", "building", "area_basis", "ceiling", "paper_width", "rooms", "remove_old"}


def result(estimate: Estimate) -> str:
    """Return the estimate as a message."""
    lines = [f"• {ITEMS[line.item]} {won(line)}" for line in estimate.lines]
    packages = [
        f"• **{package(p)} {total(p.total)}** ← 고르신 것"
        if p.chosen
        else f"• {package(p)} {total(p.total)}"
        for p in estimate.packages
    ]
    unsaid = assumed(estimate)
    return "\n".join(
        [
            f"🧾 **도배 견적 {total(estimate.total)}** (부가세 포함)",
            brief(estimate),
            "",
            *lines,
            f"**합계 {won(estimate.total)}**",
            "",
            "🔁 벽지를 바꾸면",
            *packages,
            "",
            f"📐 {quantities(estimate)}",
            *([f"💬 말씀하지 않은 것은 이렇게 보았어요: {unsaid}"] if unsaid else []),
            f"📅 단가 기준일 {estimate.rates_date.isoformat()}",
            f"📌 {VISIT}",
        ]
    )
