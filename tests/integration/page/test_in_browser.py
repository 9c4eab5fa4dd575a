"""The page in Chromium, as somebody uses it who has never seen the command line."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.page.contrast import poor_contrasts

VIEWS = ("/ui/", "/ui/requests", "/ui/tasks", "/ui/failures", "/ui/rules", "/ui/health")
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b> & "quoted"'
RIGHT_TO_LEFT = "\u062a\u0642\u0631\u064a\u0631 \u202e \u0627\u0644\u0645\u0628\u064a\u0639\u0627\u062a"
#: What a sender may call itself, and a tag that it may ask for.
WIDE, TURNED = "S" * 128, "\u202eend"
LOG = ["Execution started.", "Error: ORA-01017: invalid username/password", "Execution Failed"]

Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, paged: ListeningDaemon) -> Iterator[Open]:
    """Open a tab of its own, signed in with a token unless there is none; no error may show in it."""
    with ExitStack() as stack:

        def open_one(who: str | None = "night-operator", path: str = "/ui/", **options: Any) -> Page:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
            stack.callback(context.close)
            tab = context.new_page()
            tab.set_default_timeout(15_000)
            faults: list[str] = []
            tab.on("console", lambda said: faults.append(said.text) if is_fault(said) else None)
            tab.on("pageerror", lambda error: faults.append(str(error)))
            stack.callback(lambda: pytest.fail(f"{faults}") if faults else None)
            tab.goto(paged.url + path)
            if who is not None:
                sign_in(tab, who)
            return tab

        yield open_one


def is_fault(said: ConsoleMessage) -> bool:
    """Return whether a browser complains about the page, not about a server that is away or refuses."""
    return said.type == "error" and not said.text.startswith("Failed to load resource")


def sign_in(tab: Page, token: str) -> None:
    tab.get_by_label("Token").fill(token)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.get_by_role("navigation", name="Parts of the page")).to_be_visible()


@pytest.fixture(scope="module")
def named(paged: ListeningDaemon) -> dict[str, str]:
    """Tasks with names of every kind that ran, by a word for the name."""
    names = {"hostile": HOSTILE, "right to left": RIGHT_TO_LEFT, "long": "Long" * 50}
    for number, name in enumerate(names.values()):
        task = paged.qlik.task(name, result="fail", scriptLog=LOG)
        asked = {"taskId": task, "tag": TURNED, "sender": WIDE, "wait": "finished"}
        paged.post({**asked, "requestId": f"named-{number}"})
    return names


def test_whoever_is_signed_out_signs_in_and_comes_where_he_wanted(
    opened: Open, paged: ListeningDaemon
) -> None:
    tab = opened(None, "/ui/requests?state=failed")
    expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(tab, "wall-display")
    assert tab.url == f"{paged.url}/ui/requests?state=failed"
    expect(tab.get_by_label("State")).to_have_value("failed")
    tab.get_by_role("button", name="Sign out").click()
    expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
    tab.goto(f"{paged.url}/ui/")
    expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_operator_sees_why_a_reload_failed_and_starts_it_again(
    opened: Open, paged: ListeningDaemon
) -> None:
    name = f"Nightly {uuid.uuid4()}"
    task = paged.qlik.task(name, result=["fail", "success"], scriptLog=LOG)
    paged.post({"taskId": task, "wait": "finished"})
    tab = opened()
    tab.get_by_role("link", name="Failures").click()
    failure = tab.get_by_role("article").filter(has_text=name)
    expect(failure).to_contain_text("Error: ORA-01017: invalid username/password")
    failure.get_by_text("Script log").click()
    expect(failure.get_by_label("Script log")).to_contain_text("Execution started.")
    failure.get_by_role("link", name="Start again").click()
    expect(tab.get_by_role("listitem").filter(has_text=name)).to_be_visible()
    tab.get_by_role("button", name="Start again").click()
    expect(tab.get_by_role("status").filter(has_text="asked for again")).to_be_visible()
    # It shows the end by itself.
    expect(tab.get_by_role("main").get_by_text("succeeded", exact=True)).to_be_visible()
    assert paged.qlik.executions(task) == 2
    tab.get_by_role("link", name="Failures").click()
    expect(tab.get_by_role("article").filter(has_text=name)).to_contain_text("succeeded since")


def test_an_operator_starts_a_task_after_a_dry_run(opened: Open, paged: ListeningDaemon) -> None:
    name = f"Report {uuid.uuid4()}"
    task = paged.qlik.task(name)
    tab = opened(path="/ui/start")
    tab.get_by_label("Select by").select_option("Task name")
    tab.get_by_label("Id, name or tag").fill(name)
    tab.get_by_role("button", name="See what would start").click()
    expect(tab.get_by_role("heading", name="1 task would start")).to_be_visible()
    assert paged.qlik.posts(task) == 0
    tab.get_by_role("button", name="Start 1 task now").click()
    expect(tab.get_by_role("status").filter(has_text="The request is sent")).to_be_visible()
    until(lambda: paged.qlik.executions(task) == 1, what="it began")
    answer = paged.call("GET", "/v4/requests", params={"task": task, "limit": "1"}).json()
    assert answer["requests"][0]["deliveries"][0]["principal"] == "night-operator"


def test_an_operator_cancels_what_waits(opened: Open, paged: ListeningDaemon) -> None:
    task = paged.qlik.task(f"Later {uuid.uuid4()}")
    request_id = f"later-{uuid.uuid4()}"
    paged.post({"taskId": task, "requestId": request_id, "notBefore": "2100-01-01T00:00:00Z"})
    tab = opened()
    expect(tab.get_by_text("waits for its notBefore")).to_be_visible()
    tab.goto(f"{paged.url}/ui/requests/{request_id}")
    tab.get_by_role("link", name="Cancel").click()
    tab.get_by_role("button", name="Cancel the request").click()
    expect(tab.get_by_role("status").filter(has_text="taken back")).to_be_visible()
    expect(tab.get_by_role("main").get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_reader_sees_everything_and_can_start_nothing(
    opened: Open, paged: ListeningDaemon, named: dict[str, str]
) -> None:
    tab = opened("wall-display", "/ui/failures")
    expect(tab.get_by_role("article").first).to_be_visible()
    for path in ("/ui/failures", "/ui/tasks", "/ui/requests/named-0"):
        tab.goto(paged.url + path)
        assert tab.get_by_role("link", name="Start").count() == 0
    csrf = tab.locator("input[name=csrf]").first.get_attribute("value") or ""
    fields: dict[str, str | float | bool] = {
        "csrf": csrf,
        "kind": "taskName",
        "value": HOSTILE,
        "step": "start",
        "request_id": "reader-1",
    }
    for path in ("/ui/start", "/ui/requests/named-0/retry", "/ui/requests/named-0/cancel"):
        refused = tab.request.post(paged.url + path, form=fields, headers={"Origin": paged.url})
        assert refused.status == 403
        assert "role reader" in refused.text()


def test_what_changes_shows_by_itself_also_after_the_daemon_was_restarted(
    opened: Open, paged: ListeningDaemon
) -> None:
    first, second = (f"Live {uuid.uuid4()}" for _ in range(2))
    tasks = [paged.qlik.task(name, durationSeconds=600) for name in (first, second)]
    tab = opened("wall-display")
    state = tab.locator("#live-state")
    expect(state).to_have_text("Live")
    paged.post({"taskId": tasks[0]})
    expect(tab.get_by_role("link", name=first)).to_be_visible()
    assert paged.daemon.stop() == 0
    expect(state).to_have_text("Connecting again")
    paged.start()
    expect(state).to_have_text("Live")
    paged.post({"taskId": tasks[1]})
    expect(tab.get_by_role("link", name=second)).to_be_visible()
    for task in tasks:
        paged.qlik.end(task)
    expect(tab.get_by_role("link", name=second)).to_be_hidden()


def test_names_of_every_kind_are_shown_as_text(
    opened: Open, paged: ListeningDaemon, named: dict[str, str]
) -> None:
    tab = opened(path="/ui/tasks", viewport={"width": 360, "height": 700})
    for name in named.values():
        link = tab.locator("bdi", has_text=name[:8]).filter(has_text=name).first
        assert link.text_content() == name
    assert tab.locator("main img, main b").count() == 0
    assert "1" not in tab.title()
    for path in (*VIEWS, "/ui/requests/named-0", "/ui/requests/named-2"):
        tab.goto(paged.url + path)
        for width in (360, 1280):
            tab.set_viewport_size({"width": width, "height": 700})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_and_nothing_is_loaded_from_elsewhere(
    opened: Open, paged: ListeningDaemon, named: dict[str, str], scheme: str
) -> None:
    tab = opened(None, color_scheme=scheme)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    assert poor_contrasts(tab) == []
    sign_in(tab, "night-operator")
    paths = (*VIEWS, "/ui/requests/named-0", "/ui/start?tag=x", "/ui/requests/named-0/retry")
    for path in paths:
        tab.goto(paged.url + path)
        assert poor_contrasts(tab) == [], path
    assert asked
    assert [url for url in asked if not url.startswith(f"{paged.url}/")] == []


def test_no_text_of_a_sender_turns_words_of_the_page_round(
    opened: Open, paged: ListeningDaemon, named: dict[str, str]
) -> None:
    tab = opened("wall-display", "/ui/requests/named-0")
    expect(tab.get_by_role("main")).to_contain_text(r"\u202eend")
    for path in ("/ui/requests", "/ui/requests/named-2"):
        tab.goto(paged.url + path)
        assert "\u202e" not in tab.get_by_role("main").inner_text(), path
    # What is searched for stays what was typed.
    tab.goto(f"{paged.url}/ui/requests?tag=%E2%80%AEend")
    expect(tab.get_by_label("Tag asked for")).to_have_value(TURNED)
    expect(tab.get_by_role("row")).to_have_count(len(named) + 1)


def test_the_keyboard_is_enough(opened: Open, paged: ListeningDaemon) -> None:
    name = f"Keys {uuid.uuid4()}"
    task = paged.qlik.task(name)
    tab = opened(None, "/ui/start")
    tab.keyboard.type("night-operator")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Start a task")).to_be_visible()
    reach(tab, "kind")
    tab.keyboard.type("Task name")
    reach(tab, "value")
    tab.keyboard.type(name)
    tab.keyboard.press("Enter")
    # The button that starts has the focus then.
    expect(tab.get_by_role("button", name="Start 1 task now")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("status").filter(has_text="The request is sent")).to_be_visible()
    until(lambda: paged.qlik.executions(task) == 1, what="it began")


def reach(tab: Page, identity: str) -> None:
    """Press Tab until the element with that id has the focus, which shows."""
    for _ in range(30):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == identity:
            assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{identity} cannot be reached")


def test_rules_are_a_part_where_there_are_some(opened: Open) -> None:
    tab = opened("wall-display")
    tab.get_by_role("link", name="Rules").click()
    rule = tab.get_by_role("listitem").filter(has_text="orders-closed")
    expect(rule).to_contain_text("erp/+/orders/closed")
    expect(rule).to_contain_text("never matched")


def test_without_scripts_all_is_there_but_the_updates(opened: Open, paged: ListeningDaemon) -> None:
    name = f"Plain {uuid.uuid4()}"
    task = paged.qlik.task(name)
    tab = opened(java_script_enabled=False)
    for path in VIEWS:
        tab.goto(paged.url + path)
        expect(tab.get_by_role("heading", level=1)).to_be_visible()
    tab.goto(f"{paged.url}/ui/start?taskId={task}")
    tab.get_by_role("button", name="See what would start").click()
    tab.get_by_role("button", name="Start 1 task now").click()
    expect(tab.get_by_role("status").filter(has_text="The request is sent")).to_be_visible()
    until(lambda: paged.qlik.executions(task) == 1, what="it began")
