"""Images: what changes their tag, how buildah's store is read, what the image server answers."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.errors import DevclusterError
from devcluster.images.seed import snapshot_folder
from devcluster.images.server import Server, find, publish
from devcluster.images.specs import Image, input_files, reference, select, tag
from devcluster.images.store import ImageStore, chain_ids

IMAGE = Image("app", "app/Containerfile", ("app/src", "lock"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "app/src/deep").mkdir(parents=True)
    (tmp_path / "app/Containerfile").write_text("FROM scratch\n")
    (tmp_path / "app/src/deep/code.py").write_text("x = 1\n")
    (tmp_path / "lock").write_text("a==1\n")
    return tmp_path


def test_tag_stays_when_nothing_that_counts_changes(repository: Path) -> None:
    before = tag(repository, IMAGE, parts=[b"base"])
    (repository / "app/src/__pycache__").mkdir()
    (repository / "app/src/__pycache__/code.pyc").write_bytes(b"0")
    (repository / "app/README.md").write_text("not an input\n")
    assert tag(repository, IMAGE, parts=[b"base"]) == before


@pytest.mark.parametrize("file", ["app/src/deep/code.py", "app/Containerfile", "lock", "app/src/new.py"])
def test_tag_changes_with_every_input(repository: Path, file: str) -> None:
    before = tag(repository, IMAGE, parts=[b"base"])
    (repository / file).write_text("changed\n")
    assert tag(repository, IMAGE, parts=[b"base"]) != before


def test_tag_changes_with_name_of_a_file_base_and_target(repository: Path) -> None:
    before = tag(repository, IMAGE, parts=[b"base"])
    assert tag(repository, IMAGE, parts=[b"other"]) != before
    assert tag(repository, Image("app", IMAGE.containerfile, IMAGE.inputs, target="x"), parts=[b"base"]) != before
    (repository / "app/src/deep/code.py").rename(repository / "app/src/deep/moved.py")
    assert tag(repository, IMAGE, parts=[b"base"]) != before


def test_missing_input_names_itself(repository: Path) -> None:
    with pytest.raises(DevclusterError, match="image app: gone is missing"):
        input_files(repository, Image("app", "app/Containerfile", ("gone",)))


def test_reference_is_a_pullable_name() -> None:
    assert reference(IMAGE, "0123") == "dev.local/app:0123"


def test_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DevclusterError, match=r"no such image: trianer; there are .*trainer"):
        select(["trianer"])


def test_no_names_select_every_image_of_the_project() -> None:
    assert [image.name for image in select([])] == ["python", "data", "trainer", "operator", "mlflow"]
    assert [image.name for image in select(["trainer"])] == ["trainer"]


def test_the_repository_has_every_input_of_every_image() -> None:
    repository = Path(__file__).resolve().parents[3]
    assert all(input_files(repository, image) for image in select([]))


def test_chain_ids_follow_the_image_specification() -> None:
    first, second = "sha256:aa", "sha256:bb"
    expected = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    assert chain_ids([first, second]) == [first, expected]
    assert chain_ids([]) == []


class TestStore:
    REFERENCE = "dev.local/app:1"

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        config = {"rootfs": {"diff_ids": ["sha256:d1", "sha256:d2"]}}
        image = tmp_path / "overlay-images/i1"
        image.mkdir(parents=True)
        (image / "manifest").write_text(json.dumps({"config": {"digest": "sha256:c"}}))
        (image / f"={base64.b64encode(b'sha256:c').decode()}").write_text(json.dumps(config))
        images = [{"id": "i0"}, {"id": "i1", "names": [self.REFERENCE], "layer": "top"}]
        (tmp_path / "overlay-images/images.json").write_text(json.dumps(images))
        layers = [
            {"id": "bottom", "diff-digest": "sha256:d1"},
            {"id": "top", "parent": "bottom", "diff-digest": "sha256:d2"},
        ]
        (tmp_path / "overlay-layers").mkdir()
        (tmp_path / "overlay-layers/layers.json").write_text(json.dumps(layers))
        return tmp_path

    def test_layers_come_bottom_first_with_their_folders(self, root: Path) -> None:
        image = ImageStore(root).load(self.REFERENCE)
        assert [layer.files for layer in image.layers] == [root / "overlay/bottom/diff", root / "overlay/top/diff"]
        assert [layer.chain for layer in image.layers] == chain_ids(["sha256:d1", "sha256:d2"])
        assert image.layers[0].parent == ""
        assert image.layers[1].parent == image.layers[0].chain

    def test_unknown_reference(self, root: Path) -> None:
        with pytest.raises(DevclusterError, match="not in the store"):
            ImageStore(root).load("dev.local/app:2")

    def test_layers_that_do_not_belong_to_the_image(self, root: Path) -> None:
        layers = [{"id": "top", "diff-digest": "sha256:other"}]
        (root / "overlay-layers/layers.json").write_text(json.dumps(layers))
        with pytest.raises(DevclusterError, match="do not match"):
            ImageStore(root).load(self.REFERENCE)

    def test_an_empty_store_has_no_images(self, tmp_path: Path) -> None:
        assert ImageStore(tmp_path).references() == set()


def test_snapshot_folder_of_a_first_and_of_a_further_layer() -> None:
    first = "mount -t bind /images/snapshots/1/fs /unused -o rw,rbind\n"
    further = "mount -t overlay overlay /unused -o index=off,workdir=/s/2/work,upperdir=/s/2/fs,lowerdir=/s/1/fs\n"
    assert snapshot_folder(first) == Path("/images/snapshots/1/fs")
    assert snapshot_folder(further) == Path("/s/2/fs")
    with pytest.raises(DevclusterError, match="overlay snapshotter"):
        snapshot_folder("mount -t btrfs /dev/sda /unused\n")


class TestServer:
    MANIFEST = b'{"mediaType": "application/vnd.oci.image.manifest.v1+json"}'

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        publish(tmp_path / "served", "app", "t1", self.MANIFEST, b"{}")
        (tmp_path / "secret").write_text("no")
        return tmp_path / "served"

    @pytest.fixture
    def address(self, folder: Path) -> Iterator[str]:
        server = Server(("127.0.0.1", 0), folder)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_manifest_by_tag_with_the_query_that_containerd_adds(self, address: str) -> None:
        with urllib.request.urlopen(f"{address}/v2/app/manifests/t1?ns=dev.local") as answer:
            assert answer.read() == self.MANIFEST
            assert answer.headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
            digest = answer.headers["Docker-Content-Digest"]
        with urllib.request.urlopen(f"{address}/v2/app/manifests/{digest}") as answer:
            assert answer.read() == self.MANIFEST

    def test_head_has_the_length_and_no_body(self, address: str) -> None:
        request = urllib.request.Request(f"{address}/v2/app/manifests/t1", method="HEAD")
        with urllib.request.urlopen(request) as answer:
            assert int(answer.headers["Content-Length"]) == len(self.MANIFEST)
            assert answer.read() == b""

    def test_unknown_tag_says_what_to_do(self, address: str) -> None:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/v2/app/manifests/t2")
        with refused.value as error:
            assert error.code == 404
            assert "devcluster images" in error.read().decode()

    @pytest.mark.parametrize(
        "path",
        ["/v2/../secret", "/v2/app/manifests/..", "/v2/app/blobs/../../../secret", "/secret", "/v2/app/manifests/"],
    )
    def test_nothing_outside_the_folder_is_served(self, folder: Path, path: str) -> None:
        assert find(folder, path) is None
