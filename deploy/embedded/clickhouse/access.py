"""Who may talk to the node: one user, one password."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from deploy.embedded.clickhouse.errors import AUTHENTICATION_FAILED, refusal


@dataclass(frozen=True)
class Access:
    """The node's only account."""

    password: str = field(default="", repr=False)
    user: str = "default"

    def check(self, user: str, password: str) -> None:
        """Let a client in.

        Raises:
            EngineError: 516 for another user or a wrong password.
        """
        right_password = hmac.compare_digest(password.encode("utf-8", "replace"), self.password.encode("utf-8"))
        if user != self.user or not right_password:
            reason = (
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name. "
                f"This node has the one user '{self.user}'."
            )
            raise refusal(AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", reason)
