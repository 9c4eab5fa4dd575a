"""The page for operators: HTML made here, live by server-sent events; the home of Jinja2."""
