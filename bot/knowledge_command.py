"""`deepbot knowledge`: what the shop knows, from the command line."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.app import open_database
from bot.ask_command import open_known
from bot.errors import BadInputError
from bot.library import Library
from bot.settings import Settings
from db import knowledge as rows
from db.knowledge import Saved
from inference.knowledge import Entry, checking, files
from inference.knowledge.checking import Finding
from inference.knowledge.files import Row

Say = Callable[[str], None]

_MOST_SKIPPED = 20  # lines that are named


async def import_file(settings: Settings, path: Path, *, say: Say) -> bool:
    """Lay the entries of a file over what is known. Returns whether there were any."""
    read = files.read(path)
    taken = [row.entry for row in read if not row.problem]
    skipped = [row for row in read if row.problem]
    _report_skipped(skipped, say)
    if not taken:
        say("넣을 항목이 없어요. 열 이름을 확인해 주세요 (id, 질문_1, category, 답변_1 …).")
        return False
    async with open_database(settings, beside=True) as database:
        known = {entry.id: entry for entry in await Library(settings.knowledge, database).read()}
        changed = [entry for entry in taken if known.get(entry.id) != entry]
        saved = [Saved(e.id, e.questions, e.category, e.answers) for e in changed]
        await database.run(lambda c: rows.save(c, saved))
    new = sum(entry.id not in known for entry in changed)
    say(
        f"{len(taken):,}개 항목을 읽었어요: 새로 {new:,}, 바꿈 {len(changed) - new:,},"
        f" 그대로 {len(taken) - len(changed):,}, 건너뜀 {len(skipped):,}."
    )
    if changed:
        say("실행 중인 봇은 곧 새 지식으로 답해요 (다시 시작하지 않아도 돼요).")
    return True


async def list_entries(settings: Settings, *, as_json: bool, say: Say) -> None:
    """Print every entry, a line each."""
    entries = await _read(settings)
    if as_json:
        say(files.to_json_lines(entries).rstrip("\n"))
        return
    for entry in entries:
        say(f"{entry.id}  [{entry.category}] {entry.questions[0]}")


async def export(settings: Settings, path: Path, *, say: Say) -> None:
    """Write every entry to a file."""
    entries = await _read(settings)
    files.write(path, entries)
    say(f"{len(entries):,}개 항목을 적었어요: {path}")


async def remove(settings: Settings, ids: Sequence[str], *, say: Say) -> None:
    """Take entries out. Raises `BadInputError`, and takes none, where an id is unknown."""
    async with open_database(settings, beside=True) as database:
        known = {entry.id for entry in await Library(settings.knowledge, database).read()}
        if missing := [id_ for id_ in ids if id_ not in known]:
            msg = f"없는 id예요: {', '.join(missing)}"
            raise BadInputError(msg)
        gone = [Saved(id_, removed=True) for id_ in dict.fromkeys(ids)]
        await database.run(lambda c: rows.save(c, gone))
    say(f"{len(gone):,}개 항목을 뺐어요. 다시 넣으려면 import하세요.")


async def check(settings: Settings, path: Path | None, *, as_json: bool, say: Say) -> bool:
    """Print what an editor should look at, in a file or in all that is known.

    Returns whether there was nothing.
    """
    if path:
        read = files.read(path)
    else:
        entries = await _read(settings)
        read = [Row(number, entry) for number, entry in enumerate(entries, 1)]
    found = checking.find(read)
    for finding in found:
        say(_as_json(finding) if as_json else f"{finding.id}  [{finding.kind}] {finding.text}")
    if not as_json:
        kinds = ", ".join(
            f"{kind} {count}" for kind, count in Counter(f.kind for f in found).items()
        )
        say(f"{len(read):,}개 항목을 보았어요: " + (kinds or "고칠 것이 없어요") + ".")
    return not found


def _as_json(finding: Finding) -> str:
    return json.dumps(
        {"id": finding.id, "kind": finding.kind, "text": finding.text}, ensure_ascii=False
    )


async def _read(settings: Settings) -> list[Entry]:
    async with open_known(settings) as database:
        return await Library(settings.knowledge, database).read()


def _report_skipped(skipped: Sequence[Row], say: Say) -> None:
    for row in skipped[:_MOST_SKIPPED]:
        say(f"건너뜀: {row.number}행 ({row.problem})")
    if len(skipped) > _MOST_SKIPPED:
        say(f"건너뜀: 그 밖에 {len(skipped) - _MOST_SKIPPED:,}행")
