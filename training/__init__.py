"""From approved labels to a better detector. Runs in RQ workers; `backend` never imports this package."""
