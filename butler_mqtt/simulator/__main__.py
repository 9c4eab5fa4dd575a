"""`python -m butler_mqtt.simulator`: the simulator without the rest of the program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from butler_mqtt.simulator.serving import ServeOptions, serve


def options(
    arguments: list[str], *, program: str = "simulate-qrs", page: str = "docs/simulator.md"
) -> ServeOptions:
    """Read the command line; exits with 2 when it is wrong. *program* and *page* are for its help."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="A simulated Qlik Sense Repository Service.",
        epilog=f"Example: {program} --port 0 --certs certs --tasks site.yaml --switch alreadyRunning=same. "
        f"Read more: {page}",
    )
    default = ServeOptions()
    parser.add_argument("--host", default=default.host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=default.port, help="0 takes a free one (%(default)s)")
    parser.add_argument("--tasks", type=Path, help="YAML file with the tasks (a built-in sample)")
    parser.add_argument(
        "--certs",
        type=Path,
        default=default.certs,
        help="folder of certificates, made when empty (%(default)s)",
    )
    parser.add_argument(
        "--old-root",
        action="store_true",
        help="make certificates of a root without basicConstraints, as sites of 2015 to 2019 have it",
    )
    parser.add_argument("--no-tls", action="store_true", help="plain HTTP, no client certificates")
    parser.add_argument(
        "--admin-port", type=int, help="further plain port on 127.0.0.1 for /admin, 0 takes a free one"
    )
    parser.add_argument(
        "--proxy-port",
        type=int,
        help="further port with a Qlik proxy: JWT at /butler, header at /header; 0 takes a free one",
    )
    parser.add_argument("--ledger", type=Path, help="file that gets one JSON line per execution")
    parser.add_argument(
        "--switch", action="append", default=[], metavar="NAME=POSITION", help="first position of a switch"
    )
    given = parser.parse_args(arguments)
    switches = {}
    for text in given.switch:
        name, equals, position = text.partition("=")
        if not equals:
            parser.error(f"--switch {text}: not NAME=POSITION")
        switches[name] = yaml.safe_load(position)
    return ServeOptions(
        host=given.host,
        port=given.port,
        tasks=given.tasks,
        certs=given.certs,
        old_root=given.old_root,
        tls=not given.no_tls,
        admin_port=given.admin_port,
        proxy_port=given.proxy_port,
        ledger=given.ledger,
        switches=switches,
    )


if __name__ == "__main__":
    sys.exit(serve(options(sys.argv[1:])))
