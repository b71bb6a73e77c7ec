"""/etc/fstab, as far as it concerns our mount points."""

from drbdocfs_boot import fstab


def test_fields_escapes_comments_and_the_first_of_two() -> None:
    lines = fstab.parse(
        "# comment\n\n"
        "/dev/vda1 / ext4\n"
        "/dev/drbd0\t/mnt/my\\040dir//x/ ocfs2 noauto,_netdev 0 0\n"
        "/dev/drbd1 /mnt/my\\040dir/x ocfs2 defaults\n"
        'LABEL="web" /mnt/gr\\303\\266\\134 auto defaults\n'
        "broken line\n"
    )
    assert set(lines) == {"/", "/mnt/my dir/x", "/mnt/grö\\"}
    line = lines["/mnt/my dir/x"]
    assert (line.number, line.spec, line.type, line.options) == (4, "/dev/drbd0", "ocfs2", "noauto,_netdev")
    assert lines["/"].options == "defaults"


def test_not_utf8_is_no_error() -> None:
    text = b"/dev/sda1 /mnt/\xff ext4 defaults\n/dev/drbd0 /mnt ocfs2\n".decode("utf-8", "surrogateescape")
    assert fstab.parse(text)["/mnt"].spec == "/dev/drbd0"
