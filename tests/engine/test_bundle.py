import json
import os
import shutil
import zipfile
from hashlib import sha256

import onnx
import pytest

from trk import BundleError, Tracker
from trk.engine.bundle import MAX_MANIFEST_BYTES, Bundle

FILES = ("bundle.json", "search.onnx", "template.onnx")


def refused(path, *words):
    """The bundle is refused in one line that holds `words`, when it is opened or when it is loaded."""
    with pytest.raises(BundleError) as caught:
        Tracker(path, threads=1)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def edit(bundle, change):
    """Change the manifest as JSON."""
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace_file(bundle, name, data):
    """Put `data` in a file of the bundle, with a size and hash in the manifest that are right."""
    (bundle / name).write_bytes(data)

    def change(manifest):
        entry = next(file for file in manifest["files"] if file["name"] == name)
        entry.update(bytes=len(data), sha256=sha256(data).hexdigest())

    edit(bundle, change)


def zipped(bundle, out, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(out, "w", compression) as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, path.name)
    return out


def test_folder_and_file_hold_the_same(tiny_bundle, tiny_trk):
    folder, file = Bundle(tiny_bundle), Bundle(tiny_trk)
    assert folder.manifest == file.manifest
    for entry in folder.manifest.files:
        assert folder.read(entry.name) == file.read(entry.name)


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "text", "empty file", "device"])
def test_what_is_no_bundle_is_refused(kind, tmp_path):
    path = {"device": "/dev/null"}.get(kind, tmp_path / "thing")
    if kind == "empty folder":
        path.mkdir()
    elif kind in ("text", "empty file"):
        path.write_text("not a bundle" if kind == "text" else "")
    refused(path, str(path), {"nothing": "trk-export", "empty folder": "bundle.json"}.get(kind, "bundle"))


def test_a_name_too_long_for_the_system_is_refused():
    refused("b" * 5000, "bundle")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "neither a folder nor a file")


@pytest.mark.parametrize("name", FILES)
def test_missing_file(bundle_copy, name):
    (bundle_copy / name).unlink()
    refused(bundle_copy, name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_truncated_file(bundle_copy, name, keep):
    data = (bundle_copy / name).read_bytes()
    kept = data[: int(len(data) * keep) if keep == 0.5 else keep]
    kept = kept if name != "bundle.json" or keep != -1 else data[:-2]  # its last byte is only a line's end
    (bundle_copy / name).write_bytes(kept)
    refused(bundle_copy, name)


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("at", [0, 0.5, -1])
def test_altered_byte(bundle_copy, name, at):
    data = bytearray((bundle_copy / name).read_bytes())
    data[int(len(data) * at) if at == 0.5 else at] ^= 1
    (bundle_copy / name).write_bytes(data)
    refused(bundle_copy, name, "SHA-256")


@pytest.mark.parametrize("name", FILES[1:])
def test_altered_byte_in_a_trk_file(bundle_copy, tmp_path, name):
    out = zipped(bundle_copy, tmp_path / "b.trk")
    data = (bundle_copy / name).read_bytes()
    whole = bytearray(out.read_bytes())
    whole[whole.index(data) + len(data) // 2] ^= 1
    out.write_bytes(whole)
    refused(out, name)


def test_truncated_trk_file(tiny_trk, tmp_path):
    data = tiny_trk.read_bytes()
    for keep in (1, 100, len(data) // 2, len(data) - 1):
        path = tmp_path / f"{keep}.trk"
        path.write_bytes(data[:keep])
        refused(path, str(path))


def test_file_that_is_not_in_the_manifest_is_never_looked_at(bundle_copy):
    (bundle_copy / "notes.txt").write_text("mine")
    bundle = Bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"no file 'notes\.txt'"):
        bundle.read("notes.txt")


@pytest.mark.parametrize("name", FILES)
def test_git_lfs_pointer(bundle_copy, name):
    (bundle_copy / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99999\n")
    refused(bundle_copy, name, "git lfs pull")


def test_trk_file_that_is_a_git_lfs_pointer(tmp_path):
    path = tmp_path / "b.trk"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(path, "git lfs pull")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "..\\x",
        "C:\\x",
        "C:x",
        "./x",
        "a//b",
        "",
        ".",
        "a\0b",
        "x" * 300,
        "a\n",
        "é",
    ],
)
def test_name_that_leads_out_of_the_bundle(bundle_copy, name):
    edit(bundle_copy, lambda manifest: manifest["files"].append({"name": name, "bytes": 1, "sha256": "0" * 64}))
    refused(bundle_copy, "bundle.json is not valid", "files")


def test_link_out_of_the_bundle(bundle_copy, tmp_path):
    shutil.move(bundle_copy / "search.onnx", tmp_path / "elsewhere.onnx")
    (bundle_copy / "search.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    refused(bundle_copy, "search.onnx is a link")


def test_folder_in_the_bundle_that_is_a_link_out_of_it(bundle_copy, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.bin").write_bytes(b"x")
    (bundle_copy / "plans").symlink_to(tmp_path / "outside")
    entry = {"name": "plans/x.bin", "bytes": 1, "sha256": sha256(b"x").hexdigest()}
    edit(bundle_copy, lambda manifest: manifest["files"].append(entry))
    refused(bundle_copy, "plans/x.bin is a link")


def test_links_in_a_circle(bundle_copy):
    (bundle_copy / "search.onnx").unlink()
    (bundle_copy / "search.onnx").symlink_to("search.onnx")
    refused(bundle_copy, "search.onnx")


def test_a_bundle_may_itself_be_reached_through_a_link(tiny_bundle, tmp_path):
    (tmp_path / "link").symlink_to(tiny_bundle)
    assert Bundle(tmp_path / "link").read("search.onnx") == Bundle(tiny_bundle).read("search.onnx")


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '{"model": "x"}', "\xff", "[" * 100_000])
def test_manifest_that_is_none(bundle_copy, text):
    (bundle_copy / "bundle.json").write_text(text, encoding="latin-1")
    refused(bundle_copy, "bundle.json is not valid")


def test_huge_manifest_is_not_read(bundle_copy):
    with (bundle_copy / "bundle.json").open("r+b") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    refused(bundle_copy, "more than any manifest")


def test_size_is_checked_before_a_file_is_read(bundle_copy):
    with (bundle_copy / "search.onnx").open("r+b") as stream:
        stream.truncate(1 << 40)  # a hole: it takes no room
    refused(bundle_copy, str(1 << 40))


def test_compressed_trk_file_says_how_to_pack_it(bundle_copy, tmp_path):
    refused(zipped(bundle_copy, tmp_path / "b.trk", zipfile.ZIP_DEFLATED), "zip -0")


def test_encrypted_trk_file(bundle_copy, tmp_path):
    out = zipped(bundle_copy, tmp_path / "b.trk")
    data = bytearray(out.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flags of every member: encrypted
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    out.write_bytes(data)
    refused(out, "bundle.json")


@pytest.mark.parametrize("data", [b"garbage", b"\0" * 4096, os.urandom(4096)])
def test_graph_that_is_none_with_a_right_hash(bundle_copy, data):
    replace_file(bundle_copy, "search.onnx", data)
    refused(bundle_copy, "ONNX Runtime can't load search.onnx")


def test_graph_of_another_signature_than_the_manifests(bundle_copy):
    graph = onnx.load(bundle_copy / "search.onnx")
    size = next(value for value in graph.graph.input if value.name == "size")
    size.name = "extent"
    for node in graph.graph.node:
        node.input[:] = ["extent" if name == "size" else name for name in node.input]
    replace_file(bundle_copy, "search.onnx", graph.SerializeToString())
    refused(bundle_copy, "inputs of search.onnx are not those of the manifest")


def test_graphs_in_each_others_place(bundle_copy):
    template, search = (bundle_copy / name for name in ("template.onnx", "search.onnx"))
    first, second = template.read_bytes(), search.read_bytes()
    replace_file(bundle_copy, "template.onnx", second)
    replace_file(bundle_copy, "search.onnx", first)
    refused(bundle_copy, "are not those of the manifest")


def test_shared_weights_that_were_altered(long_bundle, tmp_path):
    bundle = shutil.copytree(long_bundle, tmp_path / "bundle")
    data = bytearray((bundle / "weights.bin").read_bytes())
    data[1000] ^= 1
    (bundle / "weights.bin").write_bytes(data)
    refused(bundle, "weights.bin was altered")


@pytest.mark.parametrize("where", ["../secret.bin", "secret.bin", "{tmp}/secret.bin"])
def test_graph_may_not_read_files_that_the_manifest_does_not_list(long_bundle, tmp_path, monkeypatch, where):
    bundle = shutil.copytree(long_bundle, tmp_path / "bundle")
    for place in (tmp_path, bundle):
        shutil.copy(bundle / "weights.bin", place / "secret.bin")
    monkeypatch.chdir(bundle)
    graph = onnx.load(bundle / "search.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for field in tensor.external_data:
            if field.key == "location":
                field.value = where.format(tmp=tmp_path)
    replace_file(bundle, "search.onnx", graph.SerializeToString())
    refused(bundle, "ONNX Runtime can't load search.onnx")
    edit(bundle, lambda manifest: manifest["searches"][0].update(external=[]))
    refused(bundle, "ONNX Runtime can't load search.onnx")


def test_a_byte_altered_in_any_way_is_noticed(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "altered")
    graph = folder / "search.onnx"
    data = bytearray(graph.read_bytes())
    for _ in range(12):  # hashes above and below the right one
        data[100] = (data[100] + 1) % 256
        graph.write_bytes(data)
        with pytest.raises(BundleError, match="was altered"):
            Bundle(folder).read("search.onnx")


def test_a_packed_bundle_without_one_of_its_files_says_which(tiny_trk, tmp_path):
    path = tmp_path / "short.trk"
    with zipfile.ZipFile(tiny_trk) as whole, zipfile.ZipFile(path, "w") as short:
        for name in set(whole.namelist()) - {"template.onnx"}:
            short.writestr(name, whole.read(name))
    with pytest.raises(BundleError, match=r"template\.onnx is missing"):
        Bundle(path)


def test_what_is_wrong_in_a_manifest_is_named_in_plain_words(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "odd")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["geometry"]["surprise"] = 1
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is not valid: geometry\.surprise: Extra inputs"):
        Bundle(folder)


def test_a_manifest_may_have_four_mebibytes_and_no_more(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "wide")
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.ljust(4 * 1024 * 1024))
    Bundle(folder)
    (folder / "bundle.json").write_text(text.ljust(4 * 1024 * 1024 + 1))
    with pytest.raises(BundleError, match="more than any manifest"):
        Bundle(folder)


@pytest.mark.parametrize("place", ["a", "z"])
def test_a_link_is_refused_wherever_it_leads(place, tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "m")
    (tmp_path / place).mkdir()
    shutil.move(folder / "search.onnx", tmp_path / place / "search.onnx")
    (folder / "search.onnx").symlink_to(tmp_path / place / "search.onnx")
    with pytest.raises(BundleError, match="is a link"):
        Bundle(folder)
