from __future__ import annotations

from pathlib import Path

from butler_mqtt.simulator import definitions, faults
from butler_mqtt.simulator.__main__ import options
from butler_mqtt.simulator.admin import Admin, AdminDoor
from butler_mqtt.simulator.definitions import SiteDefinition
from butler_mqtt.simulator.serving import ServeOptions
from butler_mqtt.simulator.site import Site
from butler_mqtt.simulator.switches import Switches
from tests.project import ROOT

_TEXT = (ROOT / "docs" / "simulator.md").read_text("utf-8")


def _undocumented(names: list[str]) -> list[str]:
    return [name for name in names if f"`{name}`" not in _TEXT]


def test_every_switch_with_its_default_is_documented() -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in _TEXT.splitlines() if line.startswith("| `")}
    for name, position in Switches().as_json().items():
        shown = rows[name].split("|")[2]
        if isinstance(position, str):
            assert shown.strip().startswith(f"`{position}`"), name
        elif isinstance(position, tuple):
            assert shown.strip(" `") == str(list(position)), name
        elif isinstance(position, bool):
            assert shown.strip().startswith(str(position).lower()), name
        elif position is not None:
            assert shown.strip() == f"{position:g}", name


def test_every_fault_kind_and_key_is_documented() -> None:
    assert _undocumented([*faults.KINDS, *faults.DESCRIPTION["properties"]]) == []


def test_every_key_of_a_task_is_documented() -> None:
    assert _undocumented([*definitions.TASK_DESCRIPTION["properties"], *definitions.RESULTS]) == []


def test_every_admin_endpoint_is_documented() -> None:
    site = Site(SiteDefinition())
    routes = Admin(site, faults.Faults(), _nobody).routes()
    paths = {route.path.replace("{task}", "{id}").replace("{fault:int}", "{id}") for route in routes}
    assert {path for path in paths if f"{path}`" not in _TEXT} == set()


def test_the_documented_options_are_read() -> None:
    line = (
        "--host 127.0.0.2 --port 0 --tasks site.yaml --certs certs --no-tls --admin-port 9000 "
        "--proxy-port 9001 --ledger ledger --switch unknownTask=400 --switch listLimit=3"
    )
    given = options(line.split())
    assert given == ServeOptions(
        host="127.0.0.2",
        port=0,
        tasks=Path("site.yaml"),
        certs=Path("certs"),
        tls=False,
        admin_port=9000,
        proxy_port=9001,
        ledger=Path("ledger"),
        switches={"unknownTask": 400, "listLimit": 3},
    )
    named = {word for word in line.split() if word.startswith("--")}
    assert [name for name in named if name not in _TEXT] == []


def test_the_tasks_file_in_the_documentation_can_be_read() -> None:
    example = _TEXT.split("```yaml\n")[1].split("```")[0]
    assert len(definitions.site_definition(example).tasks) == 3001


def _nobody() -> AdminDoor:
    raise AssertionError("no endpoint is called here")


def test_the_tags_that_are_named_are_in_the_sample() -> None:
    (line,) = [line for line in _TEXT.splitlines() if line.startswith("The sample that it serves without")]
    named = set(line.split("with these tags", 1)[1].split("`")[1::2])
    assert named <= {tag for task in definitions.load(None).tasks for tag in task.tags}
    assert "failing" in named
