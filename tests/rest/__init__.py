"""Tests of the REST door and of monitoring."""
