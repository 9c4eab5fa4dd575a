"""`butler-mqtt requests`: its commands and their options; what they do is in the modules beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from butler_mqtt.cli.options import ConfigOption, LongOption, TimeoutOption
from butler_mqtt.cli.requests_options import (
    AllOption,
    CommonOptions,
    FollowOption,
    GroupJsonOption,
    IdArgument,
    JournalOption,
    NumberOption,
    OptionalId,
    SinceOption,
    StatesOption,
    UntilOption,
    end_with,
    point_in_time,
)
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode

#: Last messages that `prune` keeps where no configuration gives `receiveMaximum`.
MOST_DELIVERED_AGAIN = 1000


class ByIdOrCommand(TyperGroup):
    """
    A group that lists without a command, for which `list` may be written.

    Its command `show` may be left out: what is no command is a request's id.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `requests list …` as `requests …`."""
        return super().parse_args(ctx, args[1:] if args[:1] == ["list"] else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Read `requests ID` as `requests show ID`."""
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
    """Doors through which requests come."""

    MQTT = "mqtt"
    REST = "rest"
    RULE = "rule"


@app.callback()
def requests(
    context: typer.Context,
    state: StatesOption = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID|NAME", help="That started it, or found it running.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TEXT", help="That asked for this tag.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    sender: Annotated[str | None, typer.Option("--sender", metavar="TEXT", help="From this sender.")] = None,
    door: Annotated[DoorName | None, typer.Option("--door", help="That first came through it.")] = None,
    rule: Annotated[str | None, typer.Option("--rule", metavar="NAME", help="That this rule made.")] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="Refused, or a task failed, with this code.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Without a reply yet.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="With messages that the broker refused.")
    ] = False,
    held: Annotated[bool, typer.Option("--held", help="Held since a backup was restored.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    as_json: GroupJsonOption = False,
    follow: FollowOption = False,
    long: LongOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """List requests, newest first; with an ID show every step of one."""
    # What a caller in this process passed as `obj` is the limits.
    context.obj = CommonOptions(config, journal, as_json, follow, limits=context.obj)
    given = (state, task, tag, since, until, sender, door, rule, code)
    if context.invoked_subcommand is not None:
        if opened or quarantined or held or long or any(one is not None for one in given):
            raise typer.BadParameter("filters belong to the list, without an ID or a command")
        return
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- the other commands need none of this
    from butler_mqtt.journal.search import Filters  # noqa: PLC0415 -- as above

    filters = Filters(
        states=_states(state or (), opened=opened),
        task=task,
        tag=tag,
        since=point_in_time(since, "--since"),
        until=point_in_time(until, "--until"),
        sender=sender,
        door=door.value if door else None,
        code=code,
        dead_letters=quarantined,
        held=held,
        rule=rule,
    )
    end_with(
        lambda file: requests_list.listing(
            file, filters, limit=limit, as_json=as_json, follow=follow, long=long
        ),
        context.obj.file(),
    )


def _states(named: Sequence[str], *, opened: bool) -> tuple[str, ...]:
    """Return the states to search for: those *named*, and with *opened* those without a reply."""
    from butler_mqtt.journal.search import ENDED, GOING_ON, OPEN, REQUEST_STATES  # noqa: PLC0415 -- as above

    known = [*REQUEST_STATES, *GOING_ON, *ENDED]
    for one in named:
        if one not in known:
            raise typer.BadParameter(f"'{one}' is none of {', '.join(known)}", param_hint="--state")
    return (*named, *(OPEN if opened else ()))


@app.command(epilog="Example: butler-mqtt requests erp-4711 -c config.yaml")
def show(
    context: typer.Context,
    request_id: IdArgument,
    as_json: GroupJsonOption = False,
    follow: FollowOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Show every step of the requests with an id. The word `show` may be left out."""
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal, as_json, follow)
    end_with(
        lambda file: requests_list.timeline(file, request_id, as_json=common.as_json, follow=common.follow),
        common.file(),
    )


@app.command(epilog="Example: butler-mqtt requests retry erp-4711 -c config.yaml")
def retry(
    context: typer.Context,
    request_id: IdArgument,
    number: NumberOption = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Also tasks of which it is not known whether they began.")
    ] = False,
    timeout: TimeoutOption = 60.0,
    as_json: GroupJsonOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Request what failed again. It is sent over MQTT, as a new request that names the old one."""
    from butler_mqtt.cli import requests_retry  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal, as_json)
    settings = common.settings(log_in=True)
    end_with(
        lambda file: requests_retry.retry(
            settings,
            file,
            request_id,
            number=number,
            unknown=unknown,
            timeout=timeout,
            as_json=common.as_json,
        ),
        common.file(),
    )


def _on_dead_letters(action: str) -> Callable[..., None]:
    """Make the command that resends or discards the messages that the broker refused."""

    def command(
        context: typer.Context,
        request_id: OptionalId = None,
        everything: AllOption = False,
        number: NumberOption = None,
        journal: JournalOption = None,
        config: ConfigOption = None,
    ) -> None:
        from butler_mqtt.cli import requests_dead_letters  # noqa: PLC0415 -- as above
        from butler_mqtt.pipeline.operator_commands import Action  # noqa: PLC0415 -- as above

        if (request_id is None) != everything:
            raise typer.BadParameter("name one request, or --all")
        if everything and number is not None:
            raise typer.BadParameter("--number is for one request")
        common = context.obj.joined(config, journal)
        end_with(
            lambda file: requests_dead_letters.resend_or_discard(
                file, Action(action), request_id, number, common.limits
            ),
            common.file(),
        )

    return command


for _action, _help in (
    ("resend", "Send again what the broker refused, and with --all alerts."),
    ("discard", "Discard what the broker refused, and with --all alerts."),
):
    app.command(
        _action, help=_help, epilog=f"Example: butler-mqtt requests {_action} erp-4711 -c config.yaml"
    )(_on_dead_letters(_action))


@app.command(epilog="Example: butler-mqtt requests export -c config.yaml --since 7d > audit.jsonl")
def export(
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """
    Print the audit log, as lines of JSON.

    Who asked what, when, through which door, with which result.
    """
    from butler_mqtt.cli import requests_list  # noqa: PLC0415 -- as above

    begin, end = point_in_time(since, "--since"), point_in_time(until, "--until")
    end_with(lambda file: requests_list.export(file, begin, end), context.obj.joined(config, journal).file())


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
        echo(f"{file} is copied to {target}: {target.stat().st_size} bytes, checked")
        return ExitCode.OK

    end_with(carry_out, context.obj.joined(config, journal).file())


@app.command(epilog="Example: butler-mqtt requests restore -c config.yaml /var/backups/butler-mqtt.sqlite")
def restore(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; it stays as it is.")],
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a backup the journal. It is checked before, and what is open in it is held until `resume`."""
    from butler_mqtt.cli import requests_restore  # noqa: PLC0415 -- as above

    place = context.obj.joined(config, journal).place()
    end_with(lambda file: requests_restore.restore(file, copy), place)


@app.command(epilog="Example: butler-mqtt requests resume erp-4711 -c config.yaml")
def resume(
    context: typer.Context,
    request_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The requestIds.")
    ] = None,
    everything: AllOption = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Cancel what has not begun, discard the old messages.")
    ] = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Continue, or discard, what is held since a backup was restored."""
    from butler_mqtt.cli import requests_restore  # noqa: PLC0415 -- as above

    if bool(request_ids) == everything:
        raise typer.BadParameter("name requests, or --all")
    common = context.obj.joined(config, journal)
    end_with(
        lambda file: requests_restore.resume(file, request_ids or (), discard=discard, limits=common.limits),
        common.file(),
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how many, delete none.")] = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Delete requests before their time. `journal.retentionDays` is that time; the daemon may run."""
    from butler_mqtt.cli import requests_prune  # noqa: PLC0415 -- as above
    from butler_mqtt.journal.pruning import Order  # noqa: PLC0415 -- as above

    common = context.obj.joined(config, journal)
    if older_than is None and not refused:
        raise typer.BadParameter("name at least one: --older-than AGE, --refused")
    before = None if older_than is None else point_in_time(older_than, "--older-than")
    # Taken after it, so that exactly an hour ago is not a millisecond too late.
    now = time.time_ns() // 1_000_000
    if older_than is not None and (before is None or before > now - 3_600_000):
        # What the broker may deliver again is younger, or among the last messages.
        raise typer.BadParameter("must be 1h ago at least", param_hint="--older-than")
    last = MOST_DELIVERED_AGAIN
    if common.journal is None:
        last = common.settings(log_in=False).mqtt.receive_maximum
    order = Order(before or now, refused, last)
    end_with(
        lambda file: requests_prune.prune(file, order, dry_run=dry_run, limits=common.limits), common.file()
    )
