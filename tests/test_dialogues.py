"""Sixty dialogues, end to end with the embedded model: most go as a good employee would have it."""

from pathlib import Path

import pytest

from bot.settings import Settings
from tests.dialogues import play_all, read, report
from tests.shop import open_shop_with
from tests.test_cli import needs_model


@pytest.mark.model
@needs_model
@pytest.mark.timeout(900)
async def test_most_dialogues_go_as_expected(tmp_path: Path) -> None:
    settings = Settings(messages_a_minute=0)
    async with open_shop_with(settings, f"sqlite:///{tmp_path / 'dialogues.db'}") as shop:
        played = await play_all(shop)
    assert len(read()) == len(played) == 60
    assert sum(not dialogue.misses for dialogue in played) / len(played) >= 0.8, report(played)
