"""Replace a file of an engine or a runtime as a whole."""

import os


def rewrite(path: str, text: str, *, durable: bool) -> None:
    """Replace a file's text by a rename, with its owner and mode as they were; a link stays, and its target is replaced.

    :param text: bytes that are no UTF-8 are surrogates, as ``surrogateescape`` reads them.
    :param durable: sync it, so that a power cut leaves the old text or the new one.
    :raises OSError: the file is then as before.
    """
    path = os.path.realpath(path)
    temporary = f"{path}.sriov-bond.{os.getpid()}"
    status = os.stat(path) if os.path.exists(path) else None
    try:
        # Until it has its owner nobody else may read it.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if status else 0o666)
        with open(fd, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            if status:
                os.fchown(fd, status.st_uid, status.st_gid)
                os.fchmod(fd, status.st_mode & 0o7777)
            if durable:
                os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
