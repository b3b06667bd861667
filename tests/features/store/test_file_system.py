from pathlib import Path

import pytest

from snn_action.features.store.file_system import network_file_system

MOUNTS = """22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /data rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /data/local rw - xfs /dev/vdb rw
32 22 0:42 / /my\\040share rw - cifs //server/share rw
33 22 0:43 / /ssh rw shared:3 master:1 - fuse.sshfs me@there: rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", None),
        ("/data", "nfs4"),
        ("/data/features/x", "nfs4"),
        ("/data/local/features", None),
        ("/database", None),
        ("/my share/features", "cifs"),
        ("/ssh/x", "fuse.sshfs"),
    ],
)
def test_the_deepest_mount_counts(tmp_path, folder, expected):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert network_file_system(Path(folder), tmp_path / "mountinfo") == expected


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    assert network_file_system(tmp_path, tmp_path / "absent") is None
    assert network_file_system(tmp_path) is None or Path("/proc/self/mountinfo").is_file()
