"""What the pages say in Korean that no template does."""

from bot.admin.roles import Role
from db.models import Stage, Way

VERDICTS = {"good": "맞아요", "bad": "고쳐야 해요"}
LABELS = {
    "wrong_fact": "사실이 틀림",
    "off_topic": "엉뚱한 답",
    "rude": "무례함",
    "unsafe": "위험한 안내",
    "price_promised": "값을 약속함",
    "unclear": "알아듣기 어려움",
    "outdated": "오래된 내용",
}
WAYS = {
    Way.STORED: "저장된 답",
    Way.MODEL: "모델이 씀",
    Way.FALLBACK: "모델 대신 저장된 답",
    Way.UNSURE: "되물음",
    Way.DECLINED: "도배 밖의 물음",
    Way.FIXED: "정해진 말",
    Way.FORM: "견적",
    Way.FAILED: "실패",
}
OUTCOMES = {
    "sure": "잘 들림",
    "unsure": "되물음",
    "confirmed": "손님이 확인함",
    "nothing": "못 알아들음",
    "foreign": "다른 나라 말",
    "silent": "소리 없음",
    "broken": "깨진 파일",
    "long": "너무 긺",
    "big": "너무 큼",
    "gone": "파일 없음",
    "away": "인식기에 닿지 못함",
}
PROGRESS = {"new": "새 문의", "called": "연락함", "won": "계약", "lost": "취소"}
STAGES = {Stage.TRIAL: "시험 중", Stage.PROMOTED: "모두에게", Stage.BACK: "되돌림"}
ACTIONS = {
    "sign_in": "로그인",
    "sign_out": "로그아웃",
    "refused": "거절됨",
    "search": "대화 찾기",
    "read": "대화 읽음",
    "listen": "음성 들음",
    "review": "검토",
    "entry": "지식 추가·수정",
    "entry_removed": "지식 삭제",
    "import": "지식 가져오기",
    "export": "내보내기",
    "take": "상담 넘겨받음",
    "say": "손님에게 보냄",
    "give_back": "봇에게 돌려줌",
    "progress": "견적 상태 바꿈",
    "estimate": "견적 읽음",
    "adapter_try": "어댑터 시험 시작",
    "adapter_share": "어댑터 몫 바꿈",
    "adapter_promote": "어댑터 올림",
    "adapter_back": "어댑터 되돌림",
}
PROBLEMS = {
    400: ("잘못된 요청이에요", "입력한 내용을 다시 확인해 주세요."),
    401: (
        "로그인이 필요해요",
        "텔레그램에서 봇에게 /admin 을 보내면 한 번 쓸 수 있는 로그인 링크를 받을 수 있어요.",
    ),
    403: ("할 수 없는 일이에요", "권한이 없거나, 오래된 화면이에요. 새로 고친 뒤 다시 해 주세요."),
    404: ("찾을 수 없어요", "없는 주소이거나 지워진 내용이에요."),
    405: ("할 수 없는 일이에요", "이 주소에서는 쓸 수 없는 방법이에요."),
    409: (
        "지금은 할 수 없어요",
        "다른 관리자가 맡고 있거나, 그 사이에 끝난 일이에요. 새로 고쳐 주세요.",
    ),
    410: (
        "쓸 수 없는 링크예요",
        "이미 썼거나 시간이 지난 로그인 링크예요. 봇에게 /admin 을 다시 보내 주세요.",
    ),
    413: ("파일이 너무 커요", "20 MB까지 올릴 수 있어요."),
    421: ("다른 주소예요", "ADMIN_URL에 적힌 주소로 열어 주세요."),
    429: ("잠시 뒤에 다시 해 주세요", "잘못된 링크를 너무 여러 번 열었어요."),
    500: ("문제가 생겼어요", "잠시 뒤에 다시 해 주세요. 계속되면 로그를 확인해 주세요."),
}
_ROLES = {Role.VIEWER: "보기", Role.REVIEWER: "검토", Role.ADMIN: "관리"}


def name_role(role: Role) -> str:
    """Return what a role is called."""
    return _ROLES[role]
