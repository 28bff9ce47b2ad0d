"""In the place of the standard library's ssl, for without TLS there is no need of OpenSSL's libraries in the tree.

asyncio, and pyroute2 for a probe of TLS servers, import it at their start. Nothing of ours opens a TLS connection.
These are the names that are used before one is opened.
"""


class SSLError(OSError):
    """Raised by nothing."""


class SSLWantReadError(SSLError):
    """Raised by nothing."""


class SSLSyscallError(SSLError):
    """Raised by nothing."""
