"""A short run of chaos in each setting; `make chaos` is the long one."""

import pytest

from tests.load.chaos import run


@pytest.mark.timeout(400)
@pytest.mark.parametrize("setting", ["sqlite", "replicas"])
async def test_nothing_is_lost_or_doubled_or_out_of_order(setting: str) -> None:
    report = await run(setting, kills=6, chats=60)
    assert report.kills == 6
    assert report.messages > 20
    assert report.is_good, report.lines()
