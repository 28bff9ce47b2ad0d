"""OCI hooks, and the runtime wrapper for Docker."""
