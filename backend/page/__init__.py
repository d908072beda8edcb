"""The status page, `GET /`: what a project manager keeps open. Served whole by the backend; live by asking again."""
