"""The MQTT door and what is published; the home of paho-mqtt."""
