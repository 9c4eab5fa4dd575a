"""Tests share a simulator; nothing that one of them adds is found by the selectors of another."""

from __future__ import annotations

from tests.acceptance.rig import Qlik


def test_tasks_of_a_test_that_ended_have_no_name_tag_or_property_of_theirs(qlik_server: Qlik) -> None:
    with qlik_server.one_test() as qlik:
        task = qlik.task("Rig", tags=["rig"], customProperties={"Rig": "shared"})
        seen = qlik.admin("GET", f"/tasks/{task}")
        assert (seen["name"], len(seen["tags"]), len(seen["customProperties"])) == ("Rig", 1, 1)
    seen = qlik_server.admin("GET", f"/tasks/{task}")
    assert (seen["name"], seen["tags"], seen["customProperties"]) == (task, [], [])
