"""The recipe of a charger: subprotocol and password, answers by id, an answer that never comes, messages that wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.recipes.charger import Charger, charging
from tests.acceptance.recipes.page import Page
from tests.acceptance.recipes.reader import Reader, following

pytestmark = pytest.mark.acceptance
BASIC = "Basic Y2hhcmdlci03Om9wZW4gc2VzYW1l"


async def test_requests_are_answered_by_id_and_messages_wait_for_a_charger_that_is_away(tmp_path: Path):
    async with charging(Charger(BASIC)) as charger:
        moved = {"wss://cp7.chargers.example": charger.place, "@*.chargers.example": "@127.0.0.1"}
        page = Page("charger.md", moved, {"reconnectMaxDelayS": 1})
        async with following(page, tmp_path, WSM_ALLOW_PRIVATE="true") as reader:
            await reader.begin_manager("manager")
            await reader.run("apply")
            await reader.run("ask")
            assert (charger.refused, charger.subprotocols) == (0, ["ocpp1.6"])
            await reader.run("ask-for-what-it-cannot")
            await reader.run("ask-in-vain")
            assert [told["status"] for told in reader.told("manager", "outcome")][-2:] == ["accepted", "unknown"]
            await reader.run("answer")
            await reader.until(lambda: "charger-1" in charger.results, "the charger has the answer to its own call")

            await charger.go()
            known = len(charger.heard)
            assert json.loads(await reader.run("leave"))["status"] == "accepted"
            await reader.run("ask-at-once")
            await charger.come()
            await reader.until(lambda: len(charger.heard) > known, "what has waited is sent")
            assert charger.heard[known:] == [[2, "limit-42", "SetChargingProfile", {"connectorId": 0}]]
            await reader.until(lambda: _ended(reader) == ["done"], "the end of what has waited is told")
            await reader.run("ask-later")

            calls = [json.loads(frame["payload"]) for frame in reader.told("manager", "frame")]
            assert [call[2] for call in calls if call[0] == 2].count("BootNotification") == 2
            assert "c2VzYW1l" not in reader.log() + "".join(reader.lines("manager"))
            page.check_all_used()


def _ended(reader: Reader) -> list[str]:
    """How the message that was left has ended."""
    outcomes = [told for told in reader.told("manager", "outcome") if told["commandId"] == "limit-42"]
    return [outcome["status"] for outcome in outcomes if outcome["status"] != "accepted"]
