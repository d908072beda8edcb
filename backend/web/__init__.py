"""What stands before the routes.

- `admission`: how much of `/predict` is taken on at once
- `authentication`: HTTP Basic, and the secret of webhooks
- `body_limit`: how large a request may be
- `same_site`: refuses what another site's page has sent
"""
