"""The REST door and the monitoring pages; the home of Starlette, uvicorn and prometheus-client, loaded only when enabled."""
