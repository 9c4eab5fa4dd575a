"""The lines about the Qlik server, its user's rights and the allow-list, on the simulator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from butler_mqtt.checks import qlik
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.settings import Settings, StartTaskFilter
from tests.brokers import free_port
from tests.integration.checks.site_and_broker import bad, by_name, site_settings
from tests.integration.simulator.running import QUICK, UNKNOWN, Client


def check(settings: Settings) -> list[Finding]:
    return list(qlik.check(settings))


def test_nothing_is_wrong_with_a_good_site(qrs: Settings) -> None:
    found = check(qrs)
    assert bad(found) == {}
    assert "8 tasks" in by_name(found)["qlik.tasks"].text


def test_only_reads_are_sent(site: Client, qrs: Settings) -> None:
    check(qrs)
    calls = site.admin("GET", "/calls")["calls"]
    assert calls
    assert {call["method"] for call in calls} == {"GET"}


def test_a_server_that_is_down_is_unreached() -> None:
    settings = Settings()
    found = check(replace(settings, qrs=replace(settings.qrs, use_ssl=False, port=free_port())))
    assert bad(found) == {"qlik.connection": State.UNREACHABLE}


def test_a_server_that_cuts_its_connections_is_unreached(site: Client, qrs: Settings) -> None:
    site.plant(kind="cut", count=None)
    assert bad(check(qrs)) == {"qlik.connection": State.UNREACHABLE}


def test_a_repository_that_is_starting_is_unreached(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=503, count=None)
    found = check(qrs)
    assert bad(found) == {"qlik.connection": State.UNREACHABLE}
    assert "503" in by_name(found)["qlik.connection"].text


def test_one_answer_that_failed_is_asked_for_again(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=503, path="*/about", count=1)
    assert bad(check(qrs)) == {}


def test_a_user_that_the_server_does_not_know_is_wrong(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=403, count=None)
    found = check(qrs)
    assert bad(found) == {"qlik.connection": State.WRONG}
    assert "X-Qlik-User" in by_name(found)["qlik.connection"].advice


def test_an_xrfkey_that_is_lost_on_the_way_is_named(site: Client, qrs: Settings) -> None:
    site.plant(kind="xsrf", count=None)
    found = check(qrs)
    assert bad(found) == {"qlik.connection": State.WRONG}
    assert "xrfkey" in by_name(found)["qlik.connection"].advice


def test_a_user_without_the_right_to_read_tasks_is_wrong(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=403, path="*/task/*", count=None)
    assert bad(check(qrs)) == {"qlik.tasks": State.WRONG}


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_server_that_does_not_count_is_a_warning_that_names_the_assumption(
    site: Client, qrs: Settings, status: int
) -> None:
    site.plant(kind="status", status=status, path="*/count", count=None)
    found = check(qrs)
    assert bad(found) == {"site.count": State.WARNING}
    line = by_name(found)["site.count"]
    assert line.text.startswith("does not hold: tasks can be counted by kind")
    assert str(status) in line.text
    assert "8 tasks" in by_name(found)["qlik.tasks"].text


@pytest.mark.parametrize("body", ["42", "[]", '{"count": 8}'])
def test_a_count_of_another_form_is_a_warning(site: Client, qrs: Settings, body: str) -> None:
    site.plant(kind="wrongJson", body=body, path="*/count", count=None)
    found = check(qrs)
    assert bad(found) == {"site.count": State.WARNING}
    assert "8 tasks" in by_name(found)["qlik.tasks"].text


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_server_that_does_not_tell_its_build_is_a_warning(site: Client, qrs: Settings, status: int) -> None:
    site.plant(kind="status", status=status, path="*/about", count=None)
    assert bad(check(qrs)) == {"qlik.connection": State.WARNING}


def test_a_server_that_knows_no_path_of_ours_is_wrong(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=404, count=None)
    found = check(qrs)
    assert bad(found) == {"qlik.connection": State.WRONG}
    assert "4242" in by_name(found)["qlik.connection"].advice


def test_an_inactive_account_is_named(site: Client, qrs: Settings) -> None:
    site.switch(userAccount="inactive")
    finding = by_name(check(qrs))["qlik.connection"]
    assert finding.state is State.WRONG
    assert "Your account is inactive" in finding.text
    assert "activate" in finding.advice


def test_a_page_is_not_the_repository_and_is_named_by_its_title(site: Client, qrs: Settings) -> None:
    site.plant(kind="html", status=404, count=None)
    [finding] = [one for one in check(qrs) if one.name == "qlik.connection"]
    assert (finding.state, "titled 'Qlik Sense'" in finding.text) == (State.UNREACHABLE, True)
    assert "4242" in finding.advice


@pytest.mark.parametrize(
    ("status", "words"), [(403, "X-Qlik-User"), (404, "Repository Service"), (500, "log")]
)
def test_the_advice_fits_what_the_server_says(site: Client, qrs: Settings, status: int, words: str) -> None:
    site.plant(kind="status", status=status, path="*/executionresult/*", count=None)
    found = check(qrs)
    assert bad(found) == {"qlik.executions": State.WRONG}
    assert words in by_name(found)["qlik.executions"].advice


def test_a_user_who_sees_no_task_is_wrong(site: Client, qrs: Settings) -> None:
    site.switch(rights="none")
    assert bad(check(qrs))["qlik.tasks"] is State.WRONG


def test_a_user_who_may_start_no_task_is_wrong(site: Client, qrs: Settings) -> None:
    site.switch(rights="read")
    assert bad(check(qrs)) == {"site.startRight": State.WRONG}


@pytest.mark.parametrize("entity", ["executionsession", "executionresult"])
def test_a_user_who_may_not_read_executions_is_wrong(site: Client, qrs: Settings, entity: str) -> None:
    site.plant(kind="status", status=403, path=f"*/{entity}/*", count=None)
    assert bad(check(qrs)) == {"qlik.executions": State.WRONG}


def test_schedulers_that_cannot_be_read_are_a_warning(site: Client, qrs: Settings) -> None:
    site.plant(kind="status", status=403, path="*/schedulerservice/*", count=None)
    assert bad(check(qrs)) == {"site.capacity": State.WARNING}


@pytest.mark.parametrize(
    ("offset", "states"),
    [
        (2, {}),
        (-30, {"qlik.clock": State.WARNING}),
        (300, {"qlik.clock": State.WRONG}),
        (-7200, {"qlik.clock": State.WRONG}),
    ],
)
def test_clocks_that_differ_are_named(
    site: Client, qrs: Settings, offset: int, states: dict[str, State]
) -> None:
    site.switch(clockOffsetSeconds=offset)
    assert bad(check(qrs)) == states


def allow(settings: Settings, **fields: object) -> Settings:
    made = StartTaskFilter(enable=True, **fields)  # type: ignore[arg-type] # a test names fields it knows
    return replace(settings, start_task_filter=made)


def test_an_allow_list_that_fits_is_counted(qrs: Settings) -> None:
    fitting = allow(
        qrs,
        task_ids=frozenset({QUICK}),
        tags=("nightly-long",),
        custom_properties=(("Region", "finance"),),
    )
    found = check(fitting)
    assert bad(found) == {}
    assert "allows 3 tasks" in by_name(found)["filter"].text


@pytest.mark.parametrize(
    "fields",
    [
        {"task_ids": frozenset({UNKNOWN})},
        {"tags": ("nightlyy",)},
        {"custom_properties": (("Region", "APACC"),)},
    ],
    ids=["taskId", "tag", "customProperty"],
)
def test_an_entry_of_the_allow_list_that_means_no_task_is_a_warning(
    qrs: Settings, fields: dict[str, object]
) -> None:
    found = check(allow(qrs, **fields))
    assert bad(found) == {"filter": State.WARNING}
    assert "misspelling" in by_name(found)["filter"].advice


def test_an_allow_list_that_is_empty_is_a_warning(qrs: Settings) -> None:
    assert bad(check(allow(qrs))) == {"filter": State.WARNING}


def test_a_secret_in_a_configured_header_is_not_told(site: Client) -> None:
    user = ("X-Qlik-User", "UserDirectory=INTERNAL; UserId=sa_repository")
    settings = site_settings(site.simulator, headers=(user, ("X-Secret", "very-secret-1")))
    site.plant(kind="status", status=403, path="*/task/*", count=None)
    assert "very-secret-1" not in str(check(settings))
