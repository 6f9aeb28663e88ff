"""Retrieval: what is found, how sure, and that no text breaks it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.inquiry import CLEAR, FOUND, OURS
from inference import nearest
from inference.domain import read_off_topic, read_on_topic
from inference.embeddings import E5Embedder, VectorCache
from inference.knowledge import Entry, starter_path, vectors
from inference.knowledge.files import load
from inference.nearest import Nearest
from inference.retrieval import Found, Retriever
from inference.text import normalize
from tests.fit_confidence import measure, read_questions
from tests.load.retrieval import measure as benchmark

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dacon-236216" / "train.csv"

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"

Asked = list[tuple[set[str], Found]]


@pytest.fixture(scope="module")
def embedder() -> E5Embedder:
    return E5Embedder()


@pytest.fixture(scope="module")
def retriever(embedder: E5Embedder) -> Retriever:
    return Retriever(load(starter_path()), embedder)


@pytest.fixture(scope="module")
def asked(retriever: Retriever) -> Asked:
    """The test questions: the ids of the right entries, none off topic, and what is found."""
    return [(ids, retriever.find(question, 3)) for question, ids in read_questions("questions.csv")]


def answers(found: Found, threshold: float) -> bool:
    """Return whether the best hit is given for an answer, or for a sure one."""
    return found.business >= OURS and found.hits[0].confidence >= threshold


def share(kept: Sequence[float]) -> float:
    return sum(kept) / len(kept)


# What is found


def test_the_starter_knowledge_is_complete() -> None:
    entries = load(starter_path())
    assert len(entries) >= 400
    assert len({entry.id for entry in entries}) == len(entries)
    questions = [question for entry in entries for question in entry.questions]
    assert len(set(questions)) == len(questions)
    assert all(len(entry.questions) >= 20 for entry in entries)
    assert all(len(entry.answers) >= 2 for entry in entries)


@pytest.mark.parametrize(
    ("question", "expected"), [(MOULD, "DB_001"), ("도배 후 환기는 어떻게 하나요?", "DB_093")]
)
def test_a_known_question_finds_its_entry(
    retriever: Retriever, question: str, expected: str
) -> None:
    hits = retriever.search(question)
    assert hits[0].entry.id == expected
    assert hits[0].confidence >= CLEAR
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == 5


def test_the_right_entry_is_among_the_first(asked: Asked) -> None:
    in_domain = [(ids, [hit.entry.id for hit in found.hits]) for ids, found in asked if ids]
    assert share([found[0] in ids for ids, found in in_domain]) >= 0.94
    assert share([bool(ids & set(found)) for ids, found in in_domain]) >= 0.97


def test_a_clear_hit_is_right_and_never_off_topic(asked: Asked) -> None:
    clear = [(ids, found.hits[0]) for ids, found in asked if answers(found, CLEAR)]
    assert all(ids for ids, _ in clear)
    assert share([hit.entry.id in ids for ids, hit in clear]) >= 0.95
    assert len(clear) >= 60  # two in three of what is in domain: careful answers come at once


def test_found_keeps_what_is_in_domain_and_little_else(asked: Asked) -> None:
    assert share([answers(found, FOUND) for ids, found in asked if ids]) >= 0.98
    assert share([answers(found, FOUND) for ids, found in asked if not ids]) <= 0.02


def test_unseen_questions_are_told_from_what_is_none_of_the_shops_business(
    retriever: Retriever,
) -> None:
    """Nothing was fitted or chosen on these, but for the short messages."""
    questions = measure(retriever, read_questions("heldout_questions.csv"))
    others = measure(retriever, read_questions("heldout_offtopic.txt"))
    assert (len(questions.ours), len(others.ours)) == (160, 160)
    assert (questions.business < OURS).mean() <= 0.01
    assert (others.business < OURS).mean() >= 0.95
    assert (questions.confidence < FOUND).mean() <= 0.02
    assert (others.confidence < FOUND).mean() >= 0.97
    assert (others.confidence < CLEAR).mean() >= 0.99
    short = measure(retriever, read_questions("short_questions.csv"))
    assert (short.business < OURS).mean() <= 0.05


def test_unseen_questions_in_other_words_find_their_entry(retriever: Retriever) -> None:
    found = measure(retriever, read_questions("heldout_questions.csv"))
    assert found.first.mean() >= 0.97
    assert found.third.mean() >= 0.99
    assert found.first[found.confidence >= CLEAR].mean() >= 0.98


def test_questions_in_very_other_words_are_mostly_found(
    retriever: Retriever,
) -> None:
    found = measure(retriever, read_questions("customers.csv"))
    assert len(found.ours) == 360
    assert found.first.mean() >= 0.85
    assert found.third.mean() >= 0.95
    assert found.first[found.confidence >= CLEAR].mean() >= 0.93


@pytest.mark.parametrize(
    ("name", "count"), [("unanswered.txt", 100), ("heldout_unanswered.txt", 80)]
)
def test_the_shops_business_without_an_entry_is_seldom_declined(
    retriever: Retriever, name: str, count: int
) -> None:
    found = measure(retriever, read_questions(name))
    assert len(found.ours) == count
    assert (found.business < OURS).mean() <= 0.15


def test_what_is_held_out_was_not_learnt_from() -> None:
    def read(path: Path) -> set[str]:
        return {normalize(line) for line in path.read_text(encoding="utf-8").splitlines()}

    data = Path(__file__).parent / "data"
    learnt = {normalize(text) for text in (*read_off_topic(), *read_on_topic())}
    for held, fitted in (
        ("heldout_offtopic.txt", "offtopic.txt"),
        ("heldout_unanswered.txt", "unanswered.txt"),
    ):
        assert not read(data / held) & (learnt | read(data / fitted))
    known = {normalize(text) for entry in load(starter_path()) for text in entry.questions}
    assert not {normalize(text) for text, _ in read_questions("heldout_questions.csv")} & known


def test_every_text_of_the_starter_knowledge_has_its_vector_shipped() -> None:
    """Else a first start computes it: run `python -m inference.knowledge.vectors`."""
    shipped = vectors.read(E5Embedder.name)
    assert {vectors.digest(text) for text in vectors.texts()} == set(shipped)


@pytest.mark.parametrize("subject", ["합지벽지", "실크벽지", "규조토벽지", "원목마루"])
def test_an_advantage_is_not_answered_with_a_drawback(retriever: Retriever, subject: str) -> None:
    (pro,) = retriever.search(f"{subject} 장점 좀 알려 주세요", 1)
    (con,) = retriever.search(f"{subject} 단점 좀 알려 주세요", 1)
    assert (subject in pro.entry.questions[0], "장점" in pro.entry.questions[0]) == (True, True)
    assert (subject in con.entry.questions[0], "단점" in con.entry.questions[0]) == (True, True)


def test_a_later_hit_is_never_surer(asked: Asked) -> None:
    sure = [[hit.confidence for hit in found.hits] for _, found in asked]
    assert all(each == sorted(each, reverse=True) for each in sure)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not on this machine")
def test_second_phrasings_find_their_entry_in_the_competitions_file(embedder: E5Embedder) -> None:
    entries = load(SHARED)
    first_only = [replace(entry, questions=entry.questions[:1]) for entry in entries]
    retriever = Retriever(first_only, embedder)
    found = [
        (entry.id, [hit.entry.id for hit in retriever.search(entry.questions[1], 3)])
        for entry in entries
    ]
    assert share([ids[0] == right for right, ids in found]) >= 0.95
    assert share([right in ids for right, ids in found]) >= 0.998


def test_the_benchmark_runs() -> None:
    """`make bench` with few entries; that it can be run at all, not how fast."""
    figures = benchmark("ours", 300)
    assert figures["asked"] > 300
    assert figures["p50_ms"] > 0


def test_the_approximate_index_finds_what_the_exact_one_does(
    monkeypatch: pytest.MonkeyPatch, embedder: E5Embedder
) -> None:
    texts = [normalize(text) for entry in load(starter_path()) for text in entry.questions]
    known = VectorCache(None).embed(embedder, texts)
    exact = Nearest(known)
    monkeypatch.setattr(nearest, "EXACT_UP_TO", 1000)
    approximate = Nearest(known)
    shares = []
    questions = [normalize(text) for text, _ in read_questions("heldout_questions.csv")]
    for vector in embedder.embed(questions):
        right, found = exact.find(vector, 10), approximate.find(vector, 10)
        shares.append(len(set(right) & set(found)) / 10)
        cosines = exact.rate(vector, right)
        assert np.allclose(approximate.rate(vector, right), cosines, atol=2e-3)
    assert share(shares) >= 0.9


# Any text


@pytest.mark.parametrize(
    "variant",
    [
        MOULD.replace(" ", ""),
        MOULD.replace(" ", "   "),
        "\u200b".join(MOULD),
        f"\ufeff{MOULD}\n",
        MOULD.replace("?", "？"),
        MOULD + "!!!!",
    ],
    ids=["no spaces", "many spaces", "zero-width", "mark and line", "full width", "exclaimed"],
)
def test_how_it_is_typed_changes_little(retriever: Retriever, variant: str) -> None:
    (hit,) = retriever.search(variant, 1)
    assert hit.entry.id == "DB_001"
    assert hit.confidence >= CLEAR


def test_composed_and_decomposed_hangul_are_the_same() -> None:
    decomposed = "\u1103\u1169\u1107\u1162"  # as file names on macOS have it
    assert normalize(decomposed) == normalize("\u1103\u200b\u1169\u1107\u1162") == "도배"


@given(
    places=st.lists(
        st.tuples(st.integers(0, len(MOULD)), st.sampled_from([" ", "\u200b", "\u2060", "\u00ad"])),
        max_size=12,
    ),
    shout=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_typing_noise_never_breaks_the_search(
    retriever: Retriever, places: list[tuple[int, str]], shout: bool
) -> None:
    text = MOULD
    for place, character in places:
        text = text[:place] + character + text[place:]
    hits = retriever.search(text.upper() if shout else text)
    assert all(0 <= hit.confidence <= 1 for hit in hits)
    assert hits[0].entry.id == "DB_001"


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=60)
def test_any_text_can_be_searched(retriever: Retriever, text: str) -> None:
    assert all(0 <= hit.confidence <= 1 for hit in retriever.search(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\n",
        "가",
        "a",
        "ㅋ",
        "😀",
        "👨‍👩‍👧‍👦🏠",
        "\u200b\u2060",
        "?!",
        "1",
        "벽지 말림 " * 666,
    ],
    ids=lambda text: f"{len(text)} characters",
)
def test_a_text_that_asks_nothing_finds_nothing_sure(retriever: Retriever, text: str) -> None:
    hits = retriever.search(text)
    assert hits[0].confidence < CLEAR
    if len(text) < 20:
        assert hits[0].confidence < FOUND


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


def test_threads_may_share_a_retriever(retriever: Retriever) -> None:
    questions = [question for question, _ in read_questions("questions.csv")[:16]]
    alone = [retriever.search(question) for question in questions]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(retriever.search, questions)) == alone


def test_a_single_entry_is_enough(embedder: E5Embedder) -> None:
    entry = Entry("1", ("도배는 며칠 걸리나요?",), "기타", ("하루면 됩니다.",))
    (hit,) = Retriever([entry], embedder).search("도배 며칠 걸려요?")
    assert hit.entry is entry
