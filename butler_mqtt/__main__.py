"""`python -m butler_mqtt`: the same as the command `butler-mqtt`."""

from butler_mqtt.cli.main import main

main()
