"""A stand-in for the Qlik Sense Repository Service: tasks, filters, executions, and planted faults."""

from butler_mqtt.simulator.certificates import make as make_certificates
from butler_mqtt.simulator.server import ServeOptions, serve

__all__ = ["ServeOptions", "make_certificates", "serve"]
