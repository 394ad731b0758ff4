import io
import os
import stat
import tarfile
import threading
import zipfile

import py7zr
import pytest

from conftest import pack_7z, pack_zip
from snellen.errors import DataError
from snellen.sources.archives import Folder, SevenZip, Tar, Zip, open_container
from snellen.sources.decode import UnreadablePicture
from snellen.sources.names import checked_members

FILES = {"train/10.png": b"ten", "train/9.png": b"nine" * 1000, "a b/ü.csv": b"id,label\n", "empty.png": b""}


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "raw"


def pack_tar(folder, path, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, ".")
    return path


def pack(kind, folder, path):
    if kind == "folder":
        return folder
    packer = {"zip": pack_zip, "7z": pack_7z, "tar": pack_tar}[kind]
    return packer(folder, path)


def contents(container, names):
    return {
        name: data.read_bytes() if hasattr(data, "read_bytes") else data for name, data in container.read(list(names))
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "7z", "tar"])
def test_every_container_gives_the_same_names_sizes_and_bytes(folder, tmp_path, kind):
    container = open_container(pack(kind, folder, tmp_path / "packed"))
    assert container.sizes == {name: len(data) for name, data in FILES.items()}
    assert contents(container, FILES) == FILES
    assert contents(container, ["train/9.png"]) == {"train/9.png": FILES["train/9.png"]}


@pytest.mark.parametrize("kind", ["zip", "7z", "tar"])
def test_reading_an_archive_writes_no_file(folder, tmp_path, kind, monkeypatch):
    path = pack(kind, folder, tmp_path / "packed")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    contents(open_container(path), FILES)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_7z_of_several_blocks_is_read(folder, tmp_path):
    path = pack_7z(folder, tmp_path / "a.7z")
    with py7zr.SevenZipFile(path, "a") as archive:
        archive.writestr(b"later", "later.png")
        archive.writestr(b"", "nothing.png")
    found = contents(SevenZip(path), [*FILES, "later.png", "nothing.png"])
    assert found == FILES | {"later.png": b"later", "nothing.png": b""}


def test_zip_and_folder_are_read_in_the_order_asked_for(folder, tmp_path):
    wanted = ["train/9.png", "empty.png", "train/10.png"]
    for container in (Folder(folder), Zip(pack_zip(folder, tmp_path / "a.zip"))):
        assert [name for name, _ in container.read(wanted)] == wanted


@pytest.mark.parametrize("kind", ["folder", "zip", "7z", "tar"])
def test_what_operating_systems_leave_behind_is_ignored(folder, tmp_path, kind):
    for name in ("__MACOSX/train/._9.png", ".DS_Store", "train/Thumbs.db", ".git/config", "train/.hidden.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"junk")
    assert set(open_container(pack(kind, folder, tmp_path / "packed")).sizes) == set(FILES)


UNSAFE = [
    "../x.png",
    "a/../../x.png",
    "/etc/x.png",
    "C:/x.png",
    "..\\x.png",
    "a\\..\\x.png",
    "a/\nx.png",
    "a/\x1bx.png",
]


def zip_with(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    return path


def seven_zip_with(path, names):
    with py7zr.SevenZipFile(path, "w") as archive:
        for name in names:
            archive._writestr(b"x", name)  # the public one refuses such names
    return path


def tar_with(path, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    return path


@pytest.mark.parametrize("packer", [zip_with, seven_zip_with, tar_with])
@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_refused_by_name(tmp_path, packer, name):
    path = packer(tmp_path / "bad", ["good.png", name])
    with pytest.raises(DataError, match="the file name") as caught:
        _ = open_container(path).sizes
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert shown in str(caught.value) or shown.replace("\\", "/") in str(caught.value)  # py7zr turns slashes itself
    assert str(path) in str(caught.value)


def test_a_name_with_a_nul_is_refused(tmp_path):
    path = zip_with(tmp_path / "bad.zip", ["good.png", "x.png_.exe"])
    path.write_bytes(path.read_bytes().replace(b"x.png_.exe", b"x.png\0.exe"))
    with pytest.raises(DataError, match=r'x\.png\\x00\.exe" contains control characters'):
        _ = Zip(path).sizes


def test_a_name_that_is_cut_to_nothing_is_refused(tmp_path):
    path = zip_with(tmp_path / "bad.zip", ["good.png", "_x"])
    path.write_bytes(path.read_bytes().replace(b"_x", b"\0x"))
    with pytest.raises(DataError, match=r'\\x00x" contains control characters'):
        _ = Zip(path).sizes


@pytest.mark.parametrize("packer", [zip_with, seven_zip_with, tar_with])
def test_a_name_of_more_than_a_thousand_letters_is_refused(tmp_path, packer):
    longest = "folder/" * 142 + "ab.png"
    assert len(longest) == 1000
    assert longest in open_container(packer(tmp_path / "good", ["good.png", longest])).sizes
    with pytest.raises(DataError, match=r"the file name .* is longer than 1,000 characters") as caught:
        _ = open_container(packer(tmp_path / "bad", ["good.png", "x" + longest])).sizes
    assert len(str(caught.value)) < 1000
    assert str(tmp_path / "bad") in str(caught.value)


@pytest.mark.parametrize("name", ["", "."])
def test_a_name_that_says_nothing_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=f'the file name "{name}" is empty'):
        checked_members(tmp_path / "bad.zip", [("good.png", 1, False), (name, 2, False)])


def test_a_file_name_that_is_not_utf8_is_refused_by_name(tmp_path):
    (tmp_path / "raw").mkdir()
    try:
        open(os.fsencode(tmp_path / "raw") + b"/\xff.png", "wb").close()
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    with pytest.raises(DataError, match="is not UTF-8"):
        _ = Folder(tmp_path / "raw").sizes


@pytest.mark.parametrize("packer", [zip_with, seven_zip_with])
def test_a_name_that_comes_twice_is_refused(tmp_path, packer):
    with pytest.warns(UserWarning, match="Duplicate") if packer is zip_with else pytest.MonkeyPatch.context():
        path = packer(tmp_path / "twice", ["a/1.png", "./a//1.png" if packer is seven_zip_with else "a/1.png"])
    with pytest.raises(DataError, match=r'"a/1\.png" is in the archive twice'):
        _ = open_container(path).sizes


def test_links_are_refused_by_name(tmp_path):
    info = zipfile.ZipInfo("evil.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with tarfile.open(tmp_path / f"link{kind.decode()}.tar", "w") as archive:
            member = tarfile.TarInfo("evil.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    os.symlink("/etc/passwd", tmp_path / "evil.png")
    with py7zr.SevenZipFile(tmp_path / "link.7z", "w") as archive:
        archive.write(tmp_path / "evil.png", "evil.png")
    packed = sorted(tmp_path.glob("link*"))
    assert len(packed) == 6
    for path in packed:
        with pytest.raises(DataError, match=r'"evil\.png" is a link or a special file'):
            _ = open_container(path).sizes


def test_links_in_a_folder_are_followed_once(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"one")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "nowhere.png").symlink_to(tmp_path / "gone")
    assert set(Folder(folder).sizes) == {*FILES, "linked/1.png"}


def test_a_place_in_a_folder_is_left_out(folder):
    assert set(Folder(folder, folder / "train").sizes) == {"a b/ü.csv", "empty.png"}


def test_encrypted_archives_say_so(folder, tmp_path):
    path = pack_zip(folder, tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\1\2")
    data[start + 8] |= 1
    path.write_bytes(data)
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w", password="secret") as archive:
        archive.write(folder / "train/9.png", "9.png")
    with py7zr.SevenZipFile(tmp_path / "b.7z", "w", password="secret", header_encryption=True) as archive:
        archive.write(folder / "train/9.png", "9.png")
    for name in ("a.zip", "a.7z", "b.7z"):
        with pytest.raises(DataError, match=f"{name} is encrypted"):
            _ = open_container(tmp_path / name).sizes


def test_empty_archives_say_so(tmp_path):
    (tmp_path / "raw").mkdir()
    pack_tar(tmp_path / "raw", tmp_path / "a.tar.gz")
    zip_with(tmp_path / "a.zip", [])
    seven_zip_with(tmp_path / "a.7z", [])
    for path in tmp_path.glob("a.*"):
        with pytest.raises(DataError, match="contains no files"):
            _ = open_container(path).sizes
    (tmp_path / "nothing").write_bytes(b"")
    with pytest.raises(DataError, match='"nothing" is empty'):
        open_container(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["zip", "7z", "tar"])
def test_an_archive_cut_anywhere_is_damaged_or_still_whole(folder, tmp_path, kind):
    data = pack(kind, folder, tmp_path / "whole").read_bytes()
    path = tmp_path / "cut"
    for length in range(7, len(data) - 1, max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        try:
            found = contents(open_container(path), FILES)
        except DataError as problem:
            found = str(problem)
        assert "cut is " in found or (kind, found) == ("tar", FILES)  # a tar file ends in padding


@pytest.mark.parametrize("kind", ["zip", "7z", "tar"])
def test_an_archive_with_any_byte_changed_never_ends_in_a_traceback(folder, tmp_path, kind):
    data = pack(kind, folder, tmp_path / "whole").read_bytes()
    path = tmp_path / "changed"
    for place in range(2, len(data), max(1, len(data) // 120)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            container = open_container(path)
            contents(container, [name for name in FILES if name in container.sizes])
        except DataError:
            continue


def test_what_is_neither_folder_nor_archive_says_what_was_expected(tmp_path):
    (tmp_path / "page.zip").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="neither a folder nor a known kind of archive") as caught:
        open_container(tmp_path / "page.zip")
    assert "error page" in str(caught.value)
    with pytest.raises(DataError, match="No such file"):
        open_container(tmp_path / "nowhere")


def test_a_damaged_member_of_a_zip_spoils_only_itself(folder, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"first picture")
        archive.writestr("b.png", b"second picture")
    path.write_bytes(path.read_bytes().replace(b"first picture", b"First picture"))
    found = contents(Zip(path), ["a.png", "b.png"])
    assert isinstance(found["a.png"], UnreadablePicture)
    assert "Bad CRC" in str(found["a.png"])
    assert found["b.png"] == b"second picture"


@pytest.mark.parametrize("kind", ["zip", "7z", "tar"])
def test_a_member_over_the_limit_is_not_unpacked_into_memory(tmp_path, kind):
    (tmp_path / "raw").mkdir()
    with open(tmp_path / "raw" / "bomb.png", "wb") as file:
        file.truncate(70 * 2**20)
    (tmp_path / "raw" / "z.png").write_bytes(b"small")
    container = open_container(pack(kind, tmp_path / "raw", tmp_path / "bomb"))
    found = contents(container, ["bomb.png", "z.png"])
    assert found["z.png"] == b"small"
    assert isinstance(found["bomb.png"], UnreadablePicture)
    assert "larger than 64.0 MB" in str(found["bomb.png"])


def test_a_tar_header_that_claims_much_is_not_believed(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
    with pytest.raises(DataError, match="claims to be"):
        _ = Tar(tmp_path / "a.tar").sizes


def test_an_inner_archive_is_copied_out_unless_the_disk_is_too_small(folder, tmp_path, monkeypatch):
    archive = Zip(pack_zip(folder, tmp_path / "a.zip"))
    archive.copy_out("train/9.png", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == FILES["train/9.png"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match="of free space"):
        archive.copy_out("train/9.png", tmp_path / "second")


def test_a_reader_that_stops_early_leaves_no_thread_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.sources.seven_zip.BATCH_MEMBERS", 10)
    (tmp_path / "raw").mkdir()
    for number in range(200):
        (tmp_path / "raw" / f"{number}.png").write_bytes(b"%d" % number)
    archive = SevenZip(pack_7z(tmp_path / "raw", tmp_path / "many.7z"))
    before = threading.active_count()
    stream = archive.read(archive.sizes)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before
    assert dict(archive.read(archive.sizes)) == {f"{n}.png": b"%d" % n for n in range(200)}


def test_names_of_folders_around_the_archive_do_not_matter(folder, tmp_path, monkeypatch):
    # py7zr compares names with the current folder; there, train may be a link to another disk.
    path = pack_7z(folder, tmp_path / "a.7z")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train").symlink_to("/")
    monkeypatch.chdir(tmp_path / "work")
    assert contents(SevenZip(path), FILES) == FILES
