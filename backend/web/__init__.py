"""What happens to a request before its route.

- `admission`: how many requests for `/predict` are accepted at once
- `authentication`: HTTP Basic, and the secret of webhooks
- `body_limit`: how large a request may be
- `json_body`: parses bodies, large ones in another process
- `same_site`: refuses requests that another site's page has sent
"""
