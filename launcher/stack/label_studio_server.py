"""The stock Label Studio that `drape up` runs (loopback, SQLite, own virtual environment), its account and token."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx

from launcher.errors import LauncherError
from launcher.stack.secret_files import Secrets
from launcher.stack.supervisor import Program, inherited_environment

logger = logging.getLogger(__name__)

EMAIL = "admin@drape.local"
TOKEN_SECRET = "label-studio-token"


def studio_program(
    folder: Path, *, venv: Path, port: int, password: str, files_root: Path, address: str = "127.0.0.1"
) -> Program:
    """Describes a server at `address`, with its data in `folder`, that serves local files only from `files_root`.

    Raises:
        LauncherError: Label Studio is not installed in `venv`.
    """
    executable = venv / "bin" / "label-studio"
    if not executable.is_file():
        raise LauncherError(f"Label Studio is not installed in {venv}. Install it with `make up`.")
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **inherited_environment(),
        "HOME": str(folder.resolve()),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder.resolve()),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": password,
        # Label Studio's own key may hold characters that it reads back differently: no token would survive a restart.
        "SECRET_KEY": Secrets(folder).make("secret-key"),
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Label Studio must reach our backend and its webhook receiver, which listen on the loopback address.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files_root.resolve()),
        # Otherwise every write of predictions recounts the predictions of all of the project's tasks.
        "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short": "true",
        # Otherwise Label Studio tries to reach its vendor's analytics and error collector, and PyPI for newer versions.
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    options = ["--no-browser", "--internal-host", address, "--port", str(port)]
    command = [str(executable.absolute()), "start", *options]
    return Program("label-studio", command, environment, folder)


def studio_answers(url: str) -> bool:
    """Whether a Label Studio answers at `url`."""
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def personal_access_token(url: str, *, password: str, secrets: Secrets, email: str = EMAIL) -> str:
    """Returns the account's personal access token: the stored token while it works, else a new one that replaces it.

    Label Studio shows a token only when it creates it, and creates no second token while the first exists.

    Raises:
        LauncherError: the account cannot log in, or Label Studio creates no token.
    """
    stored = secrets.get(TOKEN_SECRET)
    with httpx.Client(base_url=url, timeout=30, follow_redirects=True) as session:
        if stored and session.post("/api/token/refresh", json={"refresh": stored}).status_code == 200:
            return stored
        _log_in(session, email, password)
        headers = {"X-CSRFToken": (session.cookies.get("csrftoken") or ""), "Referer": url}
        answer = session.post("/api/token/", headers=headers)
        if answer.status_code == 409:
            logger.info("The stored Label Studio token does not work. Creating a new one")
            for old in session.get("/api/token/").json():
                session.post("/api/token/blacklist/", json={"refresh": old["token"]}, headers=headers)
            answer = session.post("/api/token/", headers=headers)
        if answer.status_code != 201:
            raise LauncherError(f"Label Studio did not create a personal access token ({answer.status_code}).")
        token = str(answer.json()["token"])
    secrets.put(TOKEN_SECRET, token)
    return token


def _log_in(session: httpx.Client, email: str, password: str) -> None:
    session.get("/user/login/")
    form = {"csrfmiddlewaretoken": (session.cookies.get("csrftoken") or ""), "email": email, "password": password}
    session.post("/user/login/", data=form, headers={"Referer": f"{session.base_url}user/login/"})
    if session.get("/api/current-user/whoami").status_code != 200:
        raise LauncherError(
            f"The account {email} cannot log in to Label Studio. If its password was changed there, write the new one "
            "into the file secrets/label-studio-password of the data directory."
        )
