"""Asking many questions: what was answered is not asked again, whatever dies in between."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.answering import answer_all
from training.examples import Example
from training.progress import Advance
from training.systems import as_example


class Doll:
    """A system that dies after some questions."""

    name, batch_size = "doll", 2

    def __init__(self, lives: int, fingerprint: str = "1") -> None:
        self.lives, self.fingerprint = lives, fingerprint
        self.asked: list[str] = []

    def answer(self, examples: Sequence[Example]) -> list[str]:
        if len(self.asked) >= self.lives:
            raise KeyboardInterrupt
        self.asked += [each.question for each in examples]
        return [f"{each.question}!\n" for each in examples]

    def measure_loss(self, _examples: Sequence[Example], _advance: Advance) -> None:
        """Know nothing."""


def test_a_killed_command_asks_only_what_was_not_answered(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "a.answers"
    asked = [as_example(f"질문 {number}") for number in range(6)]
    first, second, other = Doll(lives=4), Doll(lives=9), Doll(lives=9, fingerprint="2")

    with pytest.raises(KeyboardInterrupt):
        answer_all(first, asked, journal)
    with journal.open("ab") as file:
        file.write(b'["cut of')
    answers = answer_all(second, asked, journal)

    assert answers == [f"질문 {number}!\n" for number in range(6)]
    assert sorted(first.asked + second.asked) == [f"질문 {number}" for number in range(6)]
    assert "앞서 물은 4개" in capfd.readouterr().err
    answer_all(other, asked, journal)
    assert len(other.asked) == 6  # what another system answered is not its own


@given(
    st.lists(st.integers(0, 30), max_size=40),
    st.integers(0, 20),
)
def test_every_example_gets_its_own_answer(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], lives: int
) -> None:
    journal = tmp_path_factory.mktemp("journal") / "a.answers"
    asked = [as_example(f"질문 {number}") for number in numbers]

    with suppress(KeyboardInterrupt):
        answer_all(Doll(lives), asked, journal)
    doll = Doll(lives=99)

    assert answer_all(doll, asked, journal) == [f"질문 {number}!\n" for number in numbers]
    assert len(set(doll.asked)) == len(doll.asked)
