"""The node's accounts: the operator, and the analyst who only reads."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.embedded.clickhouse.errors import AUTHENTICATION_FAILED, refusal
from deploy.embedded.clickhouse.sql.policy import Role

OPERATOR, ANALYST = "default", "analyst"
_FREE_FAILURES = 3
_FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 2.0
_MOST_FAILURES = 20
_MOST_PEERS = 1024


class Failures:
    """Counts failed logins by address, and forgets one each second.

    All processes of this machine share one address, so failed logins of one delay the logins of all. Therefore the
    delay is at most LONGEST_DELAY_S, and a connection that has logged in does not wait again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def delay(self, peer: str) -> float:
        """How long a login from this address waits before its password is checked, seconds."""
        with self._lock:
            count = self._count(peer) - _FREE_FAILURES
        return min(_FIRST_DELAY_S * 2**count, LONGEST_DELAY_S) if count >= 0 else 0.0

    def add(self, peer: str) -> None:
        """Count a failed login of this address."""
        with self._lock:
            self._peers[peer] = (min(self._count(peer) + 1, _MOST_FAILURES), self._clock())
            self._peers.move_to_end(peer)
            while len(self._peers) > _MOST_PEERS:
                self._peers.popitem(last=False)

    def _count(self, peer: str) -> float:
        count, at = self._peers.get(peer, (0.0, 0.0))
        return max(count - (self._clock() - at), 0.0)


@dataclass(frozen=True)
class Access:
    """The node's accounts; without `analyst_password` there is no analyst."""

    password: str = field(default="", repr=False)
    analyst_password: str = field(default="", repr=False)
    failures: Failures = field(default_factory=Failures, repr=False, compare=False)

    def delay(self, peer: str) -> float:
        """How long a new connection from this address waits before `check`, seconds."""
        return self.failures.delay(peer)

    def check(self, user: str, password: str, peer: str) -> Role:
        """Check a client's user and password. Returns its role.

        Args:
            user: the name that the client gives.
            password: the password that the client gives.
            peer: the client's address, whose failures delay further attempts.

        Raises:
            EngineError: 516 for an unknown user or a wrong password.
        """
        given = password.encode("utf-8", "surrogateescape")
        for name, wanted, role in self._accounts():
            if user == name and hmac.compare_digest(given, wanted.encode()):
                return role
        self.failures.add(peer)
        reason = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
        raise refusal(AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", reason)

    def _accounts(self) -> list[tuple[str, str, Role]]:
        accounts = [(OPERATOR, self.password, Role.OPERATOR)]
        if self.analyst_password:
            accounts.append((ANALYST, self.analyst_password, Role.ANALYST))
        return accounts
