"""
The REST door and the monitoring pages: the only home of uvicorn, Starlette and prometheus_client.

Loaded only when one of the two listeners is enabled. Knows nothing of the
pipeline: what it needs comes in as the callables of `core.Core`.
"""
