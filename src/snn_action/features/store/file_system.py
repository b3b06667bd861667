"""What file system a folder lies on, as far as Linux says it."""

from pathlib import Path

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The name of the network file system that an existing folder lies on; None: a local one, or not known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    found, deepest = None, -1
    place = folder.resolve()
    for line in lines:  # "id parent device root MOUNT-POINT options ... - TYPE source options", see proc(5)
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= deepest:
            found, deepest = right.split(" ")[0], len(point.parts)
    return found if found in _NETWORK or (found or "").startswith("fuse.") else None
