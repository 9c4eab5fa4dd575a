"""Alerts: what is worth one, to whom it goes, and how it is sent."""
