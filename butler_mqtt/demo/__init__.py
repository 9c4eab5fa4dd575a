"""
The tour: a broker, a Qlik stand-in and the daemon on this machine, and a story told with them.

    stage     the programs: start, kill, end
    broker    an MQTT broker from PyPI, for machines without mosquitto; the only home of amqtt
    telling   how it is printed
    account   what was sent, answered, promised and really started
    story     the chapters
"""

from butler_mqtt.demo.story import demo

__all__ = ["demo"]
