"""The status page, `GET /`, for project managers. The backend renders it whole; the page polls to stay current.

- `overview`: gathers what the page shows of one project
- `render`: renders its HTML
- `routes`: its routes and buttons
"""
