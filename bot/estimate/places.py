"""Places in Korea: the 시·도 they lie in, and how people name them."""

import re

PROVINCES = (
    *("서울", "부산", "대구", "인천", "광주", "대전", "울산", "세종", "경기", "강원"),
    *("충북", "충남", "전북", "전남", "경북", "경남", "제주"),
)
_LONG_NAMES = {
    **{"충청북도": "충북", "충청남도": "충남", "전라북도": "전북", "전북특별자치도": "전북"},
    **{"전라남도": "전남", "경상북도": "경북", "경상남도": "경남"},
}
_TOWNS = {
    "서울": "강남 서초 송파 강동구 마포 용산 성동구 광진구 동대문 중랑 성북 강북구 도봉 노원 은평 "
    "서대문 양천구 강서구 구로 금천구 영등포 동작구 관악 종로 잠실 목동 상계동 여의도",
    "경기": "수원 성남 분당 판교 용인 수지구 기흥 고양시 일산 화성시 동탄 부천 안산 안양 평촌 "
    "남양주 평택 의정부 파주 운정 시흥 김포 광명 군포 산본 하남시 오산시 이천시 양주시 구리시 "
    "안성시 포천 의왕 여주시 동두천 과천 가평 양평 연천 위례 광교",
    "인천": "송도 청라 부평 계양구 검단 영종도 연수구 남동구 미추홀",
    "부산": "해운대 수영구 동래 사하구 기장군 광안리 연제구 사상구 금정구 영도구",
    "대구": "수성구 달서구 달성군",
    "대전": "유성구 둔산",
    "강원": "원주 춘천 강릉 속초 동해시 삼척 홍천",
    "충북": "청주 충주 제천 음성군 진천",
    "충남": "천안 아산 서산 당진 논산 공주시 보령 홍성",
    "전북": "전주 군산 익산 정읍 남원 김제",
    "전남": "여수 순천 목포 광양 나주 무안",
    "경북": "포항 구미시 경주 안동 경산 김천 영주시 상주시",
    "경남": "창원 마산 진해 김해 진주 거제 양산 통영 밀양 사천시",
    "제주": "서귀포",
}
_PROVINCE_OF = {town: name for name, towns in _TOWNS.items() for town in towns.split()}

# Not the maker 서울벽지, not the economy (경기), not a trip.
_NOT_HERE = (
    r"(?!벽지|색|류|[가는] ?(?:안|어려|나빠|좋)|침체|스러|스럽|탕|대로|대왕| ?(?:여행|출장)"
    r"| ?사는 [가-힣]{2,3}[이가])"
)
_PROVINCE = re.compile(
    rf"(?<![가-힣])(?:(?P<long>{'|'.join(_LONG_NAMES)})"
    rf"|(?P<short>{'|'.join(PROVINCES)}){_NOT_HERE})"
)
_TOWN = re.compile(
    rf"(?<![가-힣])(?:{'|'.join(sorted(_PROVINCE_OF, key=len, reverse=True))})(?!색)"
)
_SUFFIX = re.compile(r"(?<=..)[시군구]$")


def read_place(text: str) -> str | None:
    """Return the 시·도 that a sentence names, else the town, None where it names neither."""
    if found := _PROVINCE.search(text):
        return _LONG_NAMES[found["long"]] if found["long"] else found["short"]
    if town := _TOWN.search(text):
        return _SUFFIX.sub("", town[0])
    return None


def province(place: str) -> str | None:
    """Return the 시·도 a place lies in, None where we do not know it."""
    named = read_place(place)
    if named is None or named in PROVINCES:
        return named
    return next(
        (name for town, name in _PROVINCE_OF.items() if _SUFFIX.sub("", town) == named), None
    )
