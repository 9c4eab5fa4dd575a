"""The journal's own name for a transaction; outside this package nobody needs to know SQLAlchemy."""

from __future__ import annotations

from sqlalchemy import Connection

#: Passed from `Journal.transaction` to the functions of this package that read or write within it.
Transaction = Connection
