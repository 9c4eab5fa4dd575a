"""`butler-mqtt requests`: arguments; what they mean is done in the modules beside."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from butler_mqtt.cli import help_pages
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped_lines
from butler_mqtt.settings import Settings

#: Where the unit of systemd has the service keep its journal.
USUAL_PLACE = Path("/var/lib/butler-mqtt/butler-mqtt.sqlite")

#: Last messages that `prune` keeps where the configuration does not tell `receiveMaximum`.
MOST_DELIVERED_AGAIN = 1000

_CONFIG = Path("config.yaml")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class ByIdOrCommand(TyperGroup):
    """A group whose command `show` may be left out: what is no command is a request's id."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take `requests ID` for `requests show ID`."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=ByIdOrCommand,
    help="What was asked, by whom, and what became of it.",
    invoke_without_command=True,
    subcommand_metavar="[ID | COMMAND]",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class DoorName(StrEnum):
    """Ways in."""

    MQTT = "mqtt"
    REST = "rest"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file.", envvar="BUTLER_MQTT_CONFIG")
]
JournalOption = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="The journal itself, or a copy of one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, one line for each request.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Arrived since: 2h, 30m, 7d ago, or a date and time (RFC 3339)."
    ),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Arrived before.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The requestId.")]
OptionalId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The requestId.")]
NumberOption = Annotated[
    int | None,
    typer.Option("--number", min=1, help="Which of several with this id, as `requests ID` numbers them."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Of all requests.")]


@dataclass(frozen=True, slots=True)
class _Common:
    """Options that may stand before or behind the name of a command."""

    config: Path | None
    journal: Path | None
    as_json: bool
    follow: bool

    def joined(
        self, config: Path | None, journal: Path | None, as_json: bool = False, follow: bool = False
    ) -> _Common:
        """Add what stood behind the name."""
        return _Common(
            config or self.config, journal or self.journal, self.as_json or as_json, self.follow or follow
        )

    def place(self) -> Path:
        """Give where the journal's file is, or is to be."""
        if self.journal is not None:
            return self.journal
        return Path(
            _settings(self.config or _CONFIG, log_in=False).journal.url.removeprefix("sqlite:///")
        ).absolute()

    def file(self) -> Path:
        """Give the journal's file; ends the program when there is none."""
        file, config = self.place(), self.config or _CONFIG
        if self.journal is None and not file.exists():
            typer.echo(
                f"there is no journal at {file}, where {config} has it for this user; that of a service "
                f"is in its state directory: --journal {USUAL_PLACE}",
                err=True,
            )
            raise typer.Exit(ExitCode.FAILED)
        return file


@app.callback()
def requests(
    context: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state", metavar="STATE", help="Of the request or of one of its tasks; may be repeated."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID|NAME", help="That started or met it.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TEXT", help="That asked for this tag.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    sender: Annotated[str | None, typer.Option("--sender", metavar="TEXT", help="From this sender.")] = None,
    door: Annotated[DoorName | None, typer.Option("--door", help="That first came through it.")] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="Refused, or a task failed, with this code.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Without a reply yet.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="With messages that the broker does not take.")
    ] = False,
    held: Annotated[bool, typer.Option("--held", help="Held since a backup was restored.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
    follow: FollowOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """List requests, newest first; with an ID tell every step of one."""
    context.obj = _Common(config, journal, as_json, follow)
    given = (state, task, tag, since, until, sender, door, code, opened or None)
    if context.invoked_subcommand is not None:
        if quarantined or held or any(one is not None for one in given):
            raise typer.BadParameter("filters belong to the list, without an ID or a command")
        return
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- the other commands need none of this
    from butler_mqtt.journal.search import ENDED, GOING_ON, OPEN, REQUEST_STATES, Filters  # noqa: PLC0415

    states = [*(state or []), *(OPEN if opened else ())]
    known = [*REQUEST_STATES, *GOING_ON, *ENDED]
    for one in states:
        if one not in known:
            raise typer.BadParameter(f"'{one}' is none of {', '.join(known)}", param_hint="--state")
    filters = Filters(
        tuple(states),
        task,
        tag,
        _moment(since, "--since"),
        _moment(until, "--until"),
        sender,
        door.value if door else None,
        code,
        quarantined,
        held,
    )
    common = context.obj
    _end(
        lambda file: requests_list.listing(file, filters, limit=limit, as_json=as_json, follow=follow),
        common.file(),
    )


@app.command(epilog="Example: butler-mqtt requests erp-4711 -c config.yaml")
def show(
    context: typer.Context,
    request_id: IdArgument,
    as_json: JsonOption = False,
    follow: FollowOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell every step of the requests with an id; the word `show` may be left out."""
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal, as_json, follow)
    _end(
        lambda file: requests_list.timeline(file, request_id, as_json=common.as_json, follow=common.follow),
        common.file(),
    )


@app.command(epilog="Example: butler-mqtt requests retry erp-4711 -c config.yaml")
def retry(
    context: typer.Context,
    request_id: IdArgument,
    number: NumberOption = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Also tasks of which nobody can tell whether they began.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the reply.")] = 60.0,
    as_json: JsonOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask for the tasks that failed once more, over MQTT, as a new request that names the old."""
    from butler_mqtt.cli import requests_retry  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal, as_json)
    mqtt = _settings(common.config or _CONFIG, log_in=True).mqtt
    _end(
        lambda file: requests_retry.retry(
            mqtt,
            file,
            request_id,
            number=number,
            unknown=unknown,
            timeout=timeout,
            as_json=common.as_json,
        ),
        common.file(),
    )


def _settling(action: str) -> Callable[..., None]:
    """Make the command that carries *action* out on messages that the broker did not take."""

    def settle(
        context: typer.Context,
        request_id: OptionalId = None,
        everything: AllOption = False,
        number: NumberOption = None,
        journal: JournalOption = None,
        config: ConfigOption = None,
    ) -> None:
        from butler_mqtt.cli import requests_retry  # noqa: PLC0415 -- as above
        from butler_mqtt.pipeline.operator_commands import Action  # noqa: PLC0415 -- as above

        if (request_id is None) != everything:
            raise typer.BadParameter("name one request, or --all")
        if everything and number is not None:
            raise typer.BadParameter("--number is for one request")
        _end(
            lambda file: requests_retry.settle(file, Action(action), request_id, number),
            context.obj.joined(config, journal).file(),
        )

    return settle


for _action, _help in (
    ("resend", "Publish replies and events again that the broker did not take."),
    ("discard", "Forget replies and events that the broker did not take."),
):
    app.command(
        _action, help=_help, epilog=f"Example: butler-mqtt requests {_action} erp-4711 -c config.yaml"
    )(_settling(_action))


@app.command(epilog="Example: butler-mqtt requests export -c config.yaml --since 7d > audit.jsonl")
def export(
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the audit log: who asked what, when, through which door, with which result, as JSON lines."""
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- as above

    begin, end = _moment(since, "--since"), _moment(until, "--until")
    _end(lambda file: requests_list.export(file, begin, end), context.obj.joined(config, journal).file())


@app.command(epilog="Example: butler-mqtt requests backup -c config.yaml /var/backups/butler-mqtt.sqlite")
def backup(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; must not exist yet.")],
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy the journal into FILE, also while the daemon writes."""
    from butler_mqtt.journal.backup import backup as copy  # noqa: PLC0415 -- as above

    def carry_out(file: Path) -> ExitCode:
        copy(file, target)
        typer.echo(f"{file} is copied to {target}: {target.stat().st_size} bytes, checked")
        return ExitCode.OK

    _end(carry_out, context.obj.joined(config, journal).file())


@app.command(epilog="Example: butler-mqtt requests restore -c config.yaml /var/backups/butler-mqtt.sqlite")
def restore(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; it stays as it is.")],
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Check FILE, put it in the journal's place, and hold what is open in it until `resume`."""
    from butler_mqtt.cli import requests_restore  # noqa: PLC0415 -- as above

    place = context.obj.joined(config, journal).place()
    _end(lambda file: requests_restore.restore(file, copy), place)


@app.command(epilog="Example: butler-mqtt requests resume erp-4711 -c config.yaml")
def resume(
    context: typer.Context,
    request_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The requestIds.")
    ] = None,
    everything: AllOption = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Cancel what has not begun, forget the old messages.")
    ] = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Let requests go on, or discard them, that are held since a backup was restored."""
    from butler_mqtt.cli import requests_restore  # noqa: PLC0415 -- as above

    if bool(request_ids) == everything:
        raise typer.BadParameter("name requests, or --all")
    _end(
        lambda file: requests_restore.resume(file, request_ids or (), discard=discard),
        context.obj.joined(config, journal).file(),
    )


@app.command(epilog="Example: butler-mqtt requests prune -c config.yaml --older-than 7d --dry-run")
def prune(
    context: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Closed so long ago, 1h at least: 36h, 7d."),
    ] = None,
    refused: Annotated[
        bool,
        typer.Option("--refused", help="Only those refused as a whole, of any age without --older-than."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell how many, and forget none.")] = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Forget requests before journal.retentionDays have passed, also while the daemon runs."""
    from butler_mqtt.cli import requests_prune  # noqa: PLC0415 -- as above
    from butler_mqtt.journal.pruning import Order  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal)
    if older_than is None and not refused:
        raise typer.BadParameter("say which: --older-than AGE, --refused, or both")
    now = time.time_ns() // 1_000_000
    before = now if older_than is None else _moment(older_than, "--older-than")
    if older_than is not None and (before is None or before > now - 3_600_000):
        # What the broker may deliver again is younger, or among the last messages.
        raise typer.BadParameter("must be 1h ago at least", param_hint="--older-than")
    last = MOST_DELIVERED_AGAIN
    if common.journal is None:
        last = _settings(common.config or _CONFIG, log_in=False).mqtt.receive_maximum
    order = Order(before or now, refused, last)
    _end(lambda file: requests_prune.prune(file, order, dry_run=dry_run), common.file())


def _end(carry_out: Callable[[Path], ExitCode], file: Path) -> NoReturn:
    """Carry a command out on the journal and end with its exit code."""
    from butler_mqtt.errors import JournalError  # noqa: PLC0415 -- as above

    try:
        code = carry_out(file)
    except JournalError as error:
        typer.echo(escaped_lines(str(error)), err=True)
        code = ExitCode.FAILED
    except KeyboardInterrupt:
        code = ExitCode.OK  # what was followed goes on without us
    help_pages.tell(code)
    raise typer.Exit(code)


def _moment(text: str | None, option: str) -> int | None:
    """Read a point in time, given as such or as a duration before now, as milliseconds since 1970."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if ago is not None:
        return time.time_ns() // 1_000_000 - int(ago[1]) * _UNITS[ago[2]] * 1000
    try:
        # Without an offset it is the time of the clock on the wall.
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"'{text}' is neither a duration (90s, 30m, 2h, 7d, 2w) nor a time (2026-03-01T06:00:00+01:00)",
            param_hint=option,
        ) from None


def _settings(path: Path, *, log_in: bool) -> Settings:
    from butler_mqtt.cli.main import read_settings  # noqa: PLC0415 -- it imports this module

    # The files of `cert` are the daemon's; who asks what became of a request may not read them.
    return read_settings(path, check_files=False, log_in=log_in)
