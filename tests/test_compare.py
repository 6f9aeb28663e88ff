"""`deepbot compare`: the page in a real browser, the table as a spreadsheet reads it."""

import csv
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Browser, Locator, expect

from tests.browsing import page_at
from tests.runs import (
    CPU,
    EMBEDDER,
    QUESTIONS,
    make_evaluation,
    make_record,
    write_evaluation,
    write_run,
)
from training import page, runs
from training.compare import PAGE, TABLE, compare
from training.contenders import open_contenders
from training.errors import TrainingError, TrainingInputError
from training.files import write_table
from training.runs import Answered

HOSTILE = (
    "<script>document.title='당했어요'</script><img src=x onerror=\"document.title='당했어요'\">"
    "</p>{{ 7 * 7 }} "
)


def make_runs(folder: Path) -> tuple[list[Path], Path]:
    """Three runs, one of them on a stand-in, and retrieval without training."""
    answers = [Answered(question=each, answer=HOSTILE * 3, seconds=1) for each in QUESTIONS[:2]]
    made = [
        write_run(folder / "ours", make_record(), make_evaluation(similarity=0.712)),
        write_run(
            folder / "noncommercial",
            make_record("ldcc-solar", totals={"seconds": 44_000.0}),
            make_evaluation(similarity=0.761, answers=answers),
        ),
        write_run(
            folder / "stand-in",
            make_record("skt-kogpt2", base="tiny-gpt2", stand_in=True, machine=CPU),
            make_evaluation(similarity=0.99),
        ),
    ]
    rag = make_evaluation(system="http://rag.example", similarity=0.667, loss=None, perplexity=None)
    return made, write_evaluation(folder / "rag.json", rag)


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """A folder with the comparison of made runs."""
    folders, rag = make_runs(tmp_path)
    compare(folders, tmp_path / "new" / "out", rag=rag, say=lambda _: None)
    return tmp_path / "new" / "out"


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def cells(rows: Locator, system: str) -> list[str]:
    row = rows.filter(has_text=system)
    return [" ".join(text.split()) for text in await row.locator("td").all_inner_texts()]


@pytest.mark.browser
async def test_the_page_shows_the_systems_side_by_side(browser: Browser, compared: Path) -> None:
    async with page_at(browser, (compared / PAGE).as_uri()) as shown:
        rows = shown.locator("#figures tbody tr")
        await expect(rows).to_have_count(4)
        ours = await cells(rows, "ours")
        assert "LoRA r8 α16" in ours[0]
        assert "NVIDIA L4 24 GiB" in ours[0]
        assert ours[1:6] == ["3.00", "5.00", "00:20:24", "★01:01:12", "245.1"]
        assert ours[9] == f"0.712 {EMBEDDER}"
        assert ours[-1] == "Apache-2.0 상업적 이용 됨"
        assert (await cells(rows, "noncommercial"))[9] == f"★0.761 {EMBEDDER}"
        assert (await cells(rows, "noncommercial"))[-1] == "CC-BY-NC-4.0 상업적 이용 안 됨"
        rag = await cells(rows, "검색만 (학습 없음)")
        assert rag[:2] == ["–", "–"]
        assert rag[9] == f"0.667 {EMBEDDER}"

        await expect(shown.locator("#figures")).to_contain_text("바탕 모델이나 손실을 세는 법이")
        advice = shown.locator("#advice")
        await expect(advice.locator(".chosen")).to_contain_text("Qwen2.5-Coder 0.5B")
        await expect(advice).to_contain_text("규칙 2: 상업적 이용을 허락하지 않아요 (CC-BY-NC-4.0)")
        await expect(shown.locator("#references")).to_contain_text("여기서 잰 것이 아니에요")
        await expect(shown.locator("#references tbody tr")).to_have_count(5)

        pictures = shown.locator("#curves img")
        await expect(pictures).to_have_count(3)
        widths = await pictures.evaluate_all("all => all.map(each => each.naturalWidth)")
        assert min(widths) > 0


@pytest.mark.browser
async def test_what_a_model_answers_is_shown_and_never_run(
    browser: Browser, compared: Path
) -> None:
    async with page_at(browser, (compared / PAGE).as_uri()) as shown:
        answers = shown.locator("#answers .answers").first.locator(".answer")
        await expect(answers).to_have_count(4)
        await expect(answers.nth(1)).to_contain_text("<script>document.title='당했어요'</script>")
        await expect(answers.nth(1)).to_contain_text("{{ 7 * 7 }}")
        await expect(answers.nth(0)).to_contain_text("하루 말린 뒤 다시 붙이세요.")
        last = shown.locator("#answers .answers").last.locator(".answer")
        await expect(last.nth(1)).to_contain_text("묻지 않았어요")
        assert await shown.title() == "시스템 비교 – 딥봇"
        assert await shown.locator("script").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
async def test_only_the_tables_scroll_sideways(
    browser: Browser, compared: Path, width: int
) -> None:
    async with page_at(browser, (compared / PAGE).as_uri()) as shown:
        await shown.set_viewport_size({"width": width, "height": 800})
        assert await shown.evaluate("document.documentElement.scrollWidth") == width
        box = shown.locator("#figures .scroll")
        scrolls = await box.evaluate("box => box.scrollWidth > box.clientWidth")
        assert scrolls == (width == 390)


@pytest.mark.browser
async def test_a_stand_in_is_never_shown_as_the_recipes_system(
    browser: Browser, compared: Path
) -> None:
    async with page_at(browser, (compared / PAGE).as_uri()) as shown:
        row = shown.locator("#figures tbody tr").filter(has_text="tiny-gpt2")
        await expect(row.locator(".mark")).to_have_text("대역 모델")
        await expect(row).to_contain_text("그 시스템의 값이 아니에요")
        await expect(row.locator(".best")).to_have_count(0)
        await expect(row.locator("td").last).to_have_text("기록에 없음")
        for part in ("#figures", "#curves", "#answers", "#licences", "#advice"):
            await expect(shown.locator(part)).not_to_contain_text("SKT KoGPT2")
            named = await shown.locator(part).inner_text()
            assert named.count("tiny-gpt2 대역 모델") + named.count("tiny-gpt2\n대역 모델") > 0


def test_the_table_opens_in_a_spreadsheet(compared: Path) -> None:
    assert (compared / TABLE).read_bytes().startswith(b"\xef\xbb\xbf")
    ours, _, stand_in, rag = read_table(compared)
    assert list(ours)[:3] == ["번호", "시스템", "이름"]
    assert ours["시스템"] == "Qwen2.5-Coder 0.5B (내장 모델)"
    assert ours["시작 (UTC)"] == "2026-11-26 01:02:03"
    assert float(ours["최고 메모리: RAM (GiB)"]) == 3.0
    assert float(ours["학습 시간: 전체 (초)"]) == 3671.5
    assert float(ours["답의 품질: 유사도 (0~1)"]) == 0.712
    assert float(ours["답의 품질: 반복 (%)"]) == 1.0
    assert (stand_in["시스템"], stand_in["대역 모델"]) == ("tiny-gpt2", "예")
    assert (stand_in["최고 메모리: GPU (GiB)"], stand_in["라이선스"]) == ("5.0", "")
    assert (rag["시스템"], rag["방법"], rag["손실: 학습 끝 (nat/토큰)"]) == (
        *("검색만 (학습 없음)", "", ""),
    )


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(path, [["이름"], [text]])
        with path.open(encoding="utf-8-sig", newline="") as file:
            _, (cell,) = csv.reader(file)
    assert cell.removeprefix("'") == text.removeprefix("'")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.floats(min_value=0, max_value=1e7))
def test_a_time_reads_back(seconds: float) -> None:
    hours, minutes, rest = map(int, page.write_duration(seconds).split(":"))
    assert minutes < 60
    assert rest < 60
    assert hours * 3600 + minutes * 60 + rest == round(seconds)


def test_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    folders, rag = make_runs(tmp_path)
    for out in ("one", "two"):
        compare(folders, tmp_path / out, rag=rag, say=lambda _: None)
    for name in (PAGE, TABLE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(each.name for each in (tmp_path / "one").iterdir()) == sorted((PAGE, TABLE))


def test_it_says_where_the_files_are_and_what_is_recommended(tmp_path: Path) -> None:
    folders, rag = make_runs(tmp_path)
    said: list[str] = []
    compare([*folders, folders[0]], tmp_path / "out", rag=rag, say=said.append)
    assert said[0].startswith("4개를 견줬어요")  # a run named twice is one
    assert str(tmp_path / "out" / PAGE) in said[0]
    assert said[1].startswith("추천: Qwen2.5-Coder 0.5B (내장 모델) (ours).")
    compare(folders[1:], tmp_path / "out", rag=None, say=said.append)
    assert said[3] == "추천: 없음. 규칙을 모두 지킨 시스템이 없어요."


def test_a_run_that_was_not_evaluated_is_compared_too(tmp_path: Path) -> None:
    bare = write_run(tmp_path / "bare", make_record(), metrics=[])
    compare([bare], tmp_path / "out", rag=None, say=lambda _: None)
    text = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    assert 'id="answers"' not in text
    assert "평가하지 않았어요" in text


def test_a_link_of_a_recipe_is_only_ever_to_the_web(tmp_path: Path) -> None:
    licence = {"source": "javascript:alert(1)"}
    folder = write_run(tmp_path / "run", make_record(licence=licence))
    compare([folder], tmp_path / "out", rag=None, say=lambda _: None)
    assert "javascript:" not in (tmp_path / "out" / PAGE).read_text(encoding="utf-8")


def _unfinish(folder: Path) -> None:
    (folder / runs.RUN).unlink()


def _break_record(folder: Path) -> None:
    (folder / runs.RUN).write_text('{"recipe": ', encoding="utf-8")


def _lose_metrics(folder: Path) -> None:
    (folder / runs.METRICS).unlink()


def _break_metrics(folder: Path) -> None:
    (folder / runs.METRICS).write_bytes(b'{"step": \xff\n')


def _break_evaluation(folder: Path) -> None:
    (folder / runs.EVALUATION).write_text(json.dumps({"system": 1}), encoding="utf-8")


def _lose_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_unfinish, "끝난 학습이 아니에요"),
        (_break_record, "학습 기록을 읽을 수 없어요"),
        (_lose_metrics, "잰 값을 읽을 수 없어요"),
        (_break_metrics, "잰 값을 읽을 수 없어요"),
        (_break_evaluation, "평가 기록을 읽을 수 없어요"),
        (_lose_folder, "끝난 학습이 아니에요"),
    ],
)
def test_a_folder_that_is_no_run_is_named_in_a_sentence(
    tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    folders, _ = make_runs(tmp_path)
    spoil(folders[0])
    with pytest.raises(TrainingInputError, match=f"{sentence}.*ours"):
        compare(folders, tmp_path / "out", rag=None, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_an_evaluation_that_is_none_is_named_in_a_sentence(tmp_path: Path) -> None:
    folders, _ = make_runs(tmp_path)
    with pytest.raises(TrainingInputError, match=r"평가 기록이 없어요.*nowhere\.json"):
        open_contenders(folders, tmp_path / "nowhere.json")
    with pytest.raises(TrainingInputError, match="평가 기록을 읽을 수 없어요"):
        open_contenders(folders, folders[0])
    with pytest.raises(TrainingInputError, match="견줄 것이 없어요"):
        open_contenders([], None)


def test_a_place_that_cannot_be_written_is_named_in_a_sentence(tmp_path: Path) -> None:
    folders, _ = make_runs(tmp_path)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(TrainingInputError, match="폴더가 아니에요"):
            compare(folders, out, rag=None, say=lambda _: None)
    (tmp_path / "out" / f"{PAGE}.part").mkdir(parents=True)
    with pytest.raises(TrainingError, match="적을 수 없어요"):
        compare(folders, tmp_path / "out", rag=None, say=lambda _: None)
