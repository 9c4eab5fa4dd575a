"""Options of the commands below `requests`; the journal that they name; points in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from butler_mqtt.cli.options import end, read_settings
from butler_mqtt.cli.service_places import found_config
from butler_mqtt.cli.terminal import echo
from butler_mqtt.contract.timestamps import FILTER_TIMES, filter_time
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped_lines, wrapped
from butler_mqtt.settings import Settings

if TYPE_CHECKING:
    from butler_mqtt.pipeline.command_submission import CommandLimits

#: Where the systemd unit has the service keep its journal.
USUAL_PLACE = Path("/var/lib/butler-mqtt/butler-mqtt.sqlite")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

JournalOption = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="The journal itself, or a copy of one.")
]
GroupJsonOption = Annotated[bool, typer.Option("--json", help="JSON, one line for each request.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show changes until Ctrl-C.")]
StatesOption = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="Of the request or of one of its tasks; may be repeated."),
]
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
class CommonOptions:
    """Options that may stand before or behind the name of a command, and limits that no option sets."""

    config: Path | None
    journal: Path | None
    as_json: bool
    follow: bool
    limits: CommandLimits | None = None

    def joined(
        self, config: Path | None, journal: Path | None, as_json: bool = False, follow: bool = False
    ) -> CommonOptions:
        """Add those behind the command's name."""
        return replace(
            self,
            config=config or self.config,
            journal=journal or self.journal,
            as_json=self.as_json or as_json,
            follow=self.follow or follow,
        )

    def settings(self, *, log_in: bool) -> Settings:
        """Read the configuration; ends the program when it cannot be used."""
        # The files of `cert` are the daemon's; whoever reads the journal may not be able to read them.
        return read_settings(
            self.config,
            check_files=False,
            log_in=log_in,
            instead="\nOr name the journal itself: --journal FILE",
        )

    def place(self) -> Path:
        """Return where the journal's file is, or is to be."""
        if self.journal is not None:
            return self.journal
        return Path(self.settings(log_in=False).journal.url.removeprefix("sqlite:///")).absolute()

    def file(self) -> Path:
        """Return the journal's file; ends the program when there is none."""
        file = self.place()
        if self.journal is None and not file.exists():
            text = (
                f"there is no journal at {file}, where {self.config or found_config()} has it for this user; "
                f"that of a service is in its state directory: --journal {USUAL_PLACE}"
            )
            echo(wrapped(text, sys.stderr), err=True)
            raise typer.Exit(ExitCode.FAILED)
        return file


def end_with(carry_out: Callable[[Path], ExitCode], file: Path) -> NoReturn:
    """Carry a command out on the journal and end with its exit code."""
    try:
        code = carry_out(file)
    except JournalError as error:
        echo(wrapped(escaped_lines(str(error)), sys.stderr), err=True)
        code = ExitCode.FAILED
    except KeyboardInterrupt:
        code = ExitCode.OK  # `--follow` ends so
    end(code)


def point_in_time(text: str | None, option: str) -> int | None:
    """
    Read a point in time, or a duration before now, as milliseconds since 1970.

    Raises:
        typer.BadParameter: The text of *option* is neither.
    """
    if text is None:
        return None
    try:
        return filter_time(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither {FILTER_TIMES}", param_hint=option) from None
