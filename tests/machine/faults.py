"""The faults of the table in docs/troubleshooting.md: how each is made on a machine, and mended."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.project import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
HEADING = "## Faults and what they show"


@dataclass(frozen=True)
class Row:
    """A row of the table: `line` is what `command` shows, … in it stands for what differs."""

    what: str
    command: str
    line: str

    @property
    def pattern(self) -> str:
        """The line as a regular expression."""
        return ".*".join(re.escape(part) for part in self.line.split("…"))


@dataclass(frozen=True)
class Fault:
    """Shell text that makes a fault and mends it; the line has to be there within `seconds`."""

    breaks: str
    mends: str
    seconds: float = 30


def table() -> list[Row]:
    """Give the rows of the page."""
    text = PAGE.read_text("utf-8").partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    rows = []
    for line in lines:
        what, command, shown, _advice = (cell.strip() for cell in line.strip("|").split(" | "))
        rows.append(Row(what, command.strip("`"), shown.strip("`")))
    return rows


def _changed(file: str, edit: str, *, restart: str = "") -> Fault:
    """Give the fault of a file edited by sed."""
    return Fault(f"cp -p {file} kept; sed -i '{edit}' {file}\n{restart}", f"cp -p kept {file}")


#: The stand-in for the Qlik server; its certificates are the export.
QLIK = "systemd-run --quiet --unit=qlik butler-mqtt simulate-qrs --host 127.0.0.1 --certs /root/export"
#: What commands typed by hand need.
ENVIRON = "CREDENTIALS_DIRECTORY=/etc/butler-mqtt/credentials STATE_DIRECTORY=/var/lib/butler-mqtt"

_CONFIG = "/etc/butler-mqtt/config.yaml"
_ACL = "/etc/mosquitto/butler-mqtt.acl"
_CREDENTIALS = "/etc/butler-mqtt/credentials"
_BROKER = "systemctl restart mosquitto"
#: Does not wait for a start that will not come.
_SERVICE = "systemctl restart --no-block butler-mqtt"
_ASK = (
    "mosquitto_rr -q 1 -t qliksense/task/start -e qliksense/reply/erp/desk -W 3"
    """ -m '{"tag": "daily-reports", "dryRun": true}' || true"""
)

FAULTS = {
    "The broker's certificate has expired.": Fault(
        "cd /etc/mosquitto/certs; cp -p server.pem /root/kept\n"
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca_key.pem -days -1 -copy_extensions copy"
        f" -out server.pem\n{_BROKER}",
        "cp -p kept /etc/mosquitto/certs/server.pem",
    ),
    "The broker does not know the daemon's password.": Fault(
        f"cp -p {_CREDENTIALS}/mqtt-password kept; echo wrong >{_CREDENTIALS}/mqtt-password\n{_SERVICE}",
        f"cp -p kept {_CREDENTIALS}/mqtt-password",
    ),
    "The broker is down, or its port is closed.": Fault("systemctl stop mosquitto", ""),
    "The ACL does not let a sender publish.": _changed(
        _ACL, r"/^topic write qliksense.task.start$/d", restart=_BROKER
    ),
    "The ACL does not let the daemon read requests.": _changed(
        _ACL, "s/^topic readwrite \\(qliksense.task.start\\)$/topic write \\1/", restart=_BROKER
    ),
    "The ACL does not let the daemon write a reply.": _changed(
        _ACL, r"/^topic write qliksense.reply/d", restart=f"{_BROKER}\n{_ASK}"
    ),
    "A second daemon uses the same `clientId`.": Fault(
        ". /root/environ; mkdir -p second\n"
        f"STATE_DIRECTORY=/root/second systemd-run --quiet --unit=second -E CREDENTIALS_DIRECTORY"
        f" -E STATE_DIRECTORY butler-mqtt run -c {_CONFIG}",
        "systemctl stop second; systemctl reset-failed",
    ),
    "The Qlik server is down.": Fault(f"systemctl stop qlik\n{_ASK}", QLIK),
    "`clientCertCA` is not the CA of this Qlik site.": Fault(
        f"cp -p {_CREDENTIALS}/root.pem kept; "
        f"cp /etc/butler-mqtt/mqtt-ca.pem {_CREDENTIALS}/root.pem\n{_SERVICE}",
        f"cp -p kept {_CREDENTIALS}/root.pem",
    ),
    "A file named by `LoadCredential=` is missing.": Fault(
        f"mv {_CREDENTIALS}/client.pem kept; {_SERVICE}", f"mv kept {_CREDENTIALS}/client.pem"
    ),
    "A file cannot be read by the service's user.": Fault(
        f"chmod 600 /etc/butler-mqtt/mqtt-ca.pem; {_SERVICE}", "chmod 644 /etc/butler-mqtt/mqtt-ca.pem"
    ),
    "A key in the configuration is misspelt.": _changed(_CONFIG, "s/brokerPort/brokrPort/", restart=_SERVICE),
    "The journal belongs to root.": Fault(
        f"systemctl stop butler-mqtt; chown root: /var/lib/butler-mqtt/*; {_SERVICE}",
        "chown butler-mqtt: /var/lib/butler-mqtt/*",
    ),
    "The disk is full.": Fault(
        "systemctl stop butler-mqtt\n"
        "mount -t tmpfs -o size=64m,mode=700 tmpfs /var/lib/butler-mqtt\n"
        "chown butler-mqtt: /var/lib/butler-mqtt\n"
        "systemctl start butler-mqtt; fallocate -l 50M /var/lib/butler-mqtt/much",
        "systemctl stop butler-mqtt; umount /var/lib/butler-mqtt",
    ),
}
