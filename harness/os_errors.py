"""What the operating system refuses, said in one line with its own remedy."""

import errno

REMEDIES = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room in the quota and run again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another folder",
    errno.EACCES: "give this user the permission, or choose another folder",
    errno.EPERM: "the file or its file system does not allow it: mend that, or choose another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.EIO: "the disk or its network failed: check it and run again",
    errno.ESTALE: "the network file system has lost the file: mount it again and run again",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOLCK: "the file system gives no locks: choose a folder on another one",
    errno.ENOTSUP: "the file system can't do this: choose a folder on another one",
    errno.ENOENT: "give a path that is there; if it was there, something removed it: run again",
    errno.ENOTDIR: "a part of the path is a file: give another path",
    errno.EISDIR: "it is a folder: give a file",
    errno.EEXIST: "something else has that name: remove it, or choose another",
    errno.EMLINK: "the folder holds too many folders: choose another",
    errno.ELOOP: "the links lead to each other: mend them",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: close some and run again",
    errno.ENOMEM: "the machine has no memory left: free some, or ask for fewer rows",
    errno.EAGAIN: "the machine is out of processes or memory: free some and run again",
}


def said(error: OSError) -> str | None:
    """The file, what happened and the remedy; None for an error that is no user's to mend, such as a closed pipe."""
    remedy = REMEDIES.get(error.errno) if error.errno is not None else None
    if remedy is None:
        return None
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    name = " to ".join(files) or ("standard output" if error.errno == errno.ENOSPC else "a file")
    return f"{name}: {error.strerror}; nothing recorded is lost: {remedy}"
