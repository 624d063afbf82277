"""Asks the processes of an embedded stack whether they answer now. The state file is some seconds old."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests

from deploy.embedded.layout import ServiceState, StackState

# A process on a busy machine may not answer for some seconds.
TIMEOUT_S = 5.0


def seen_now(state: StackState, timeout_s: float = TIMEOUT_S) -> tuple[StackState, str]:
    """The state, where a process that passes for healthy and does not answer within `timeout_s` is `unready`.

    Also says which processes these are; "" for none. An answer that says "not ready" changes nothing: the supervisor
    knows how long that may last.
    """
    with ThreadPoolExecutor(max(1, len(state.services))) as pool:
        services = [*pool.map(lambda service: _seen_now(service, timeout_s), state.services)]
    silent = [new.name for old, new in zip(state.services, services, strict=True) if new is not old]
    found = f"{', '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer" if silent else ""
    return state.model_copy(update={"services": services}), found


def _seen_now(service: ServiceState, timeout_s: float) -> ServiceState:
    if service.state != "healthy" or not service.ready_url:
        return service
    try:
        requests.get(service.ready_url, timeout=timeout_s, allow_redirects=False)
    except requests.RequestException:
        detail = f"it does not answer within {timeout_s:g} s: the supervisor starts it again if that lasts"
        return service.model_copy(update={"state": "unready", "detail": detail})
    return service
