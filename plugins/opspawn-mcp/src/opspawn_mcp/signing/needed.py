"""What a call ends with for which nobody has signed in."""

from __future__ import annotations

from opspawn_mcp.faults import ServerFault


class SignInNeeded(ServerFault):
    """Somebody has to sign in; nothing was carried out. `address` is where."""

    def __init__(self, server: str, address: str) -> None:
        remedy = f"Run 'opspawn mcp login {server}'."
        super().__init__(server, "somebody has to sign in", error_type="denied", remedy=remedy)
        self.address = address
