<<<<<<< HEAD
"""The OCI hook: it gives a container of Docker, podman or runc its network before its first process runs."""
=======
"""OCI hooks, and the runtime wrapper for Docker."""
>>>>>>> wt-runtime
