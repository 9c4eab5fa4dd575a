"""The REST door and the monitoring pages; home of Starlette, uvicorn, prometheus-client."""
