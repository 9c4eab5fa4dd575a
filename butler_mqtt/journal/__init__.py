"""The durable record: the only home of SQLAlchemy and Alembic."""
