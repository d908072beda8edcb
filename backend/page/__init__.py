"""The status page, `GET /`: what a project manager keeps open. Served whole by the backend; live by asking again.

- `overview`: what it says of one project
- `render`: its HTML
- `routes`: its addresses and buttons
"""
