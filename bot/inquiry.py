"""What a customer's text asks, and what the knowledge holds for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bot import fixed
from db.queries import Exchange
from inference import followups
from inference.followups import Lean
from inference.knowledge import Entry
from inference.retrieval import Found, Hit, Retriever

# Below OURS a question is none of the shop's business; a hit below FOUND does not answer it, and
# from CLEAR on it is the question. `python -m tests.fit_confidence` shows what each does.
OURS = 0.5
FOUND = 0.3
CLEAR = 0.6
# What a text without a pronoun must have to lean on the last question: be the shop's business a
# little by itself, and share so many of its letter pairs with the entry that both together find,
# which else is the last question's alone.
_LEANS, _TIED = 0.03, 0.5

# Log-odds of a kind that even a text on the shop's business must have, and the confidence in the
# knowledge's answer that outweighs a kind below its `wins_at`.
_SURE_KIND, _SURE_HIT = 4.0, 0.9
_LOOKED_AT = 10
MOST_SUGGESTED = 3


@dataclass(slots=True)
class Part:
    """One question of a text: the hits that answer it and the answer to be given."""

    hits: list[Hit]
    answer: str

    @property
    def is_clear(self) -> bool:
        """Whether the best hit is the question."""
        return self.hits[0].confidence >= CLEAR


@dataclass(slots=True)
class Inquiry:
    """A text as understood; `parts` are the questions that something was found for."""

    lean: Lean
    full: str
    parts: list[Part] = field(default_factory=list)
    near: list[Hit] = field(default_factory=list)
    kind: str | None = None  # of a text that has a fixed answer
    is_ours: bool = False
    confidence: float = 0.0

    @property
    def entries(self) -> list[Entry]:
        """The best entry of each part."""
        return [part.hits[0].entry for part in self.parts]

    def suggest(self, past: Sequence[Exchange]) -> list[Entry]:
        """Return entries near to what was asked that were not spoken of yet."""
        told = {entry.id for entry in self.entries} | {id_ for turn in past for id_ in turn.sources}
        near = dict.fromkeys(hit.entry for hit in self.near if hit.entry.id not in told)
        return list(near)[:MOST_SUGGESTED]


def inquire(retriever: Retriever, text: str, past: Sequence[Exchange]) -> Inquiry:
    """Find out what `text` asks after the turns of `past`, and look it up."""
    topic = past[-1].question if past else None
    reading = followups.read(text, topic)
    inquiry = Inquiry(reading.lean, reading.full)
    is_bare = followups.is_bare(text)
    leans = topic is not None and reading.lean == Lean.REFERS
    has_kind = reading.lean not in {Lean.PRICE, Lean.MORE} and not is_bare
    if has_kind and (kind := _kind(retriever, text, leans=leans)):
        inquiry.kind, inquiry.full = kind, text
        return inquiry
    if reading.lean == Lean.PRICE:
        inquiry.is_ours = True
        return inquiry
    if reading.lean == Lean.MORE:
        _tell_more(retriever, inquiry, past)
        return inquiry
    if topic is None and is_bare:
        return inquiry  # nothing is named that could be looked up
    said = [turn.answer for turn in past]
    questions = followups.split(text)
    if len(questions) > 1:
        context = topic
        for question in questions:
            found, full = _find(retriever, followups.read(question, context), question)
            _add(inquiry, full, found, said if full != question else ())
            context = full
        if len(inquiry.parts) > 1:
            inquiry.full = text
            return inquiry
        inquiry = Inquiry(reading.lean, reading.full)
    found, inquiry.full = _find(retriever, reading, text)
    _add(inquiry, inquiry.full, found, said if inquiry.full != text else ())
    return inquiry


def _kind(retriever: Retriever, text: str, *, leans: bool) -> str | None:
    """Return the kind of a text that has a fixed answer, unless the knowledge surely has one."""
    if fixed.wants_human(text):
        return fixed.HUMAN
    found = retriever.find(text, _LOOKED_AT)
    if found.kind is None or (leans and found.kind_odds < _SURE_KIND):
        return None
    sure = found.hits[0].confidence
    is_asked = found.business >= OURS or sure >= CLEAR
    is_known = sure >= _SURE_HIT or (is_asked and found.kind_odds < _SURE_KIND)
    wins = found.kind_odds >= fixed.answers()[found.kind].wins_at
    return found.kind if wins or not is_known else None


def _find(retriever: Retriever, reading: followups.Reading, text: str) -> tuple[Found, str]:
    """Search for a text by itself or in full, whichever finds more; return it as searched."""
    alone = _find_alone(retriever, text)
    if reading.lean == Lean.NOT or reading.full == text:
        return alone, text
    full, put = retriever.find(reading.full, _LOOKED_AT), reading.full
    if reading.other:
        other = retriever.find(reading.other, _LOOKED_AT)
        if other.hits[0].confidence > full.hits[0].confidence:
            full, put = other, reading.other
    sure, sure_in_full = alone.hits[0].confidence, full.hits[0].confidence
    if reading.lean == Lean.REFERS:
        by_itself = sure >= CLEAR and sure > sure_in_full
    elif alone.business >= _LEANS and _is_tied(text, full.hits[0].entry):
        by_itself = sure >= min(CLEAR, sure_in_full)
    else:
        by_itself = True
    return (alone, text) if by_itself else (full, put)


def _find_alone(retriever: Retriever, text: str) -> Found:
    """Search for a text, or for its last sentence where the first only lead up to that."""
    found = retriever.find(text, _LOOKED_AT)
    last = followups.last_sentence(text)
    if _has_answer(found) or last == text:
        return found
    asked = retriever.find(last, _LOOKED_AT)
    return asked if _has_answer(asked) else found


def _has_answer(found: Found) -> bool:
    return found.business >= OURS and found.hits[0].confidence >= FOUND


def _is_tied(text: str, entry: Entry) -> bool:
    return followups.likeness(text, " ".join((*entry.questions, *entry.answers))) >= _TIED


def _add(inquiry: Inquiry, query: str, found: Found, said: Iterable[str]) -> None:
    """Take what was found for one question."""
    hits = [hit for hit in found.hits if hit.confidence >= FOUND]
    inquiry.near.extend(found.hits)
    inquiry.is_ours |= found.business >= OURS
    inquiry.confidence = max(inquiry.confidence, found.hits[0].confidence)
    if found.business < OURS or not hits:
        return
    entry = hits[0].entry
    if entry in inquiry.entries:  # two halves of one question
        return
    inquiry.parts.append(Part(hits, _answer(entry, query, said)))


def _answer(entry: Entry, query: str, said: Iterable[str]) -> str:
    """Return the answer of an entry: the first; where that was said, another that fits."""
    fresh = [answer for answer in entry.answers if not any(answer in text for text in said)]
    if not fresh or fresh[0] == entry.answers[0]:
        return entry.answers[0]
    return max(fresh, key=lambda answer: followups.likeness(query, answer))


def _tell_more(retriever: Retriever, inquiry: Inquiry, past: Sequence[Exchange]) -> None:
    """Take what was not yet said of the entries that were spoken of last."""
    said = [turn.answer for turn in past]
    for turn in reversed(past):
        for id_ in turn.sources:
            entry = retriever.entry(id_)
            fresh = [a for a in entry.answers if not any(a in t for t in said)] if entry else []
            if entry and fresh:
                hit = Hit(entry, 0.0, 1.0)
                inquiry.parts.append(Part([hit], fresh[0]))
                break
        if turn.sources:
            break
    if past:
        found = retriever.find(past[-1].question, _LOOKED_AT)
        inquiry.near.extend(found.hits)
        inquiry.is_ours = True
    inquiry.confidence = 1.0 if inquiry.parts else 0.0
