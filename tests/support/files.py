"""What the operating system allows of files, for a while."""

import contextlib
import resource


@contextlib.contextmanager
def largest_file(size):
    """No file that this process writes in the block may get longer; a write beyond it fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
