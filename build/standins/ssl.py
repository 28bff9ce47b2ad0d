"""Replaces the standard library's ssl, so that OpenSSL's libraries are not in the tree.

asyncio and pyroute2 (for its probe of TLS servers) import it when they are imported. We open no TLS connection. These are
the names that are used before one is opened.
"""


class SSLError(OSError):
    """Never raised."""


class SSLWantReadError(SSLError):
    """Never raised."""


class SSLSyscallError(SSLError):
    """Never raised."""
