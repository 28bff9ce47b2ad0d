"""Replaces the standard library's ssl, so that OpenSSL's libraries are not in the tree.

asyncio, pyroute2 (for its probe of TLS servers) and prometheus_client (for servers and gateways with TLS) import it when they
are imported. We open no TLS connection. These are the names that are used before one is opened.
"""

PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER = 16, 17


class SSLError(OSError):
    """Never raised."""


class SSLWantReadError(SSLError):
    """Never raised."""


class SSLSyscallError(SSLError):
    """Never raised."""


class SSLContext:
    """Never created."""


class TLSVersion:
    """Only named."""
