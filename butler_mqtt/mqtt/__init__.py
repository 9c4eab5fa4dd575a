"""
The MQTT doors, on paho-mqtt.

`Door` receives requests on one connection with a session the broker keeps;
`Replies` publishes on another. Nothing outside this package knows paho.
"""

from __future__ import annotations

from butler_mqtt.mqtt.door import Door, DoorState
from butler_mqtt.mqtt.replies import Replies
from butler_mqtt.mqtt.status import new_instance

__all__ = ["Door", "DoorState", "Replies", "new_instance"]
