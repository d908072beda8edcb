"""What `GET /status` and the page know of a project."""
