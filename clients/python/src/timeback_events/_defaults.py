from __future__ import annotations

import logging
import os
import re

from ._errors import HubError

_log = logging.getLogger("timeback_events")


def default_url() -> str:
    return os.environ.get("TIMEBACK_EVENTS_URL") or "http://127.0.0.1:3001"


def without_login(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def complain(error: BaseException) -> None:
    """Where nobody listens for errors: a hub's in a line, a listener's with its trace."""
    _log.warning("%s", error, exc_info=None if isinstance(error, HubError) else error)
