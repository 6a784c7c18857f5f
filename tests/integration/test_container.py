"""The contract of the container, on the emulator and in memory: what every other test may rely on."""

from __future__ import annotations

import gzip
import http.client
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerClient, ContentSettings, generate_container_sas

from local.azurite import ACCOUNT, KEY, Azurite
from shared.errors import ConditionNotMet, InvalidManifest, StorageDenied, StorageUnavailable
from shared.settings import load_storage_settings
from shared.storage import container as module
from shared.storage.connect import open_client, open_container
from shared.storage.container import Container
from tests.doubles.memory import MemoryClient

NAME = "events/date=2025-11-04/hour=00/a.json"
FOLDER = "events/date=2025-11-04/"
META = {"sha256": "5f", "events": "3"}


@pytest.fixture(params=["azurite", "memory"])
def client(request: pytest.FixtureRequest) -> ContainerClient:
    """The storage as anybody else reaches it."""
    if request.param == "memory":
        return MemoryClient("events")  # type: ignore[return-value]  # as much of it as is asked for
    found: ContainerClient = request.getfixturevalue("container")
    return found


@pytest.fixture
def store(request: pytest.FixtureRequest, client: ContainerClient) -> Iterator[Container]:
    """The container of this app."""
    if isinstance(client, MemoryClient):
        yield Container(client)
        return
    environ = {
        "EXPORT_STORAGE": request.getfixturevalue("connection_string"),
        "EXPORT_CONTAINER": str(client.container_name),
    }
    with open_container(load_storage_settings(environ)) as store:
        yield store


def commit(store: Container, name: str = NAME, data: bytes = b"{}\n", **metadata: str) -> None:
    """Stage two blocks, and make a blob of them."""
    for number, piece in enumerate((data[:1], data[1:])):
        store.stage(name, f"try-{number:05d}", [piece[:1], piece[1:]])
    store.commit(name, ["try-00000", "try-00001"], "application/x-ndjson", META | metadata)


def names(store: Container, start: str = "") -> list[str]:
    return [blob.name for blob in store.blobs(start)]


class TestCommit:
    """Blocks become a blob at one instant, only where nothing is."""

    def test_what_is_staged_is_invisible_until_it_is_committed(self, store: Container) -> None:
        store.stage(NAME, "try-00000", [b"a"])
        assert (store.read(NAME), names(store)) == (None, [])
        commit(store)
        document = store.read(NAME)
        assert document
        assert document.data == b"{}\n"
        assert [(blob.name, blob.metadata) for blob in store.blobs(FOLDER)] == [(NAME, META)]

    @pytest.mark.parametrize("name", [NAME, "a b/\u00e9\u4e16#?%41+&=:@~'(!)*,;$.json"])
    def test_under_its_name(self, client: ContainerClient, store: Container, name: str) -> None:
        """Everybody else finds it there, with its content type."""
        commit(store, name)
        (blob,) = client.list_blobs()
        assert (blob.name, blob.content_settings.content_type) == (name, "application/x-ndjson")

    def test_by_shared_access(self, azurite: Azurite, container: ContainerClient) -> None:
        """A connection string may have a signature of a few rights in place of the account's key."""
        soon = datetime.now(UTC) + timedelta(hours=1)
        sas = generate_container_sas(ACCOUNT, container.container_name, account_key=KEY, permission="cw", expiry=soon)
        connection = f"BlobEndpoint={azurite.blob_url};SharedAccessSignature={sas}"
        environ = {"EXPORT_STORAGE": connection, "EXPORT_CONTAINER": str(container.container_name)}
        with open_client(load_storage_settings(environ)) as client:
            commit(Container(client))
        assert list(container.list_blob_names()) == [NAME]

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
    def test_no_value_adds_a_header(self, connection_string: str, container: ContainerClient, end: str) -> None:
        environ = {"EXPORT_STORAGE": connection_string, "EXPORT_CONTAINER": str(container.container_name)}
        with open_client(load_storage_settings(environ)) as client:
            with pytest.raises(ValueError, match="more than one line"):
                commit(Container(client), sha256=f"5f{end}x-ms-meta-events: 4")
            assert list(container.list_blob_names()) == []

    def test_again_after_a_lost_answer(self, store: Container) -> None:
        """The same blob is there: it was committed."""
        commit(store)
        store.commit(NAME, ["try-00000"], "application/x-ndjson", META)
        document = store.read(NAME)
        assert document
        assert document.data == b"{}\n"

    def test_over_another_blob(self, store: Container) -> None:
        commit(store)
        with pytest.raises(ConditionNotMet):
            commit(store, data=b"other", sha256="60")
        document = store.read(NAME)
        assert document
        assert document.data == b"{}\n"

    def test_of_a_block_that_is_gone(self, store: Container) -> None:
        """The next try stages it again."""
        with pytest.raises(StorageUnavailable):
            store.commit(NAME, ["try-00000"], "application/x-ndjson", META)
        assert store.read(NAME) is None


class TestPut:
    """A small blob is written in one request, on condition of what is there."""

    def test_where_nothing_is(self, store: Container) -> None:
        written = store.put("m", b"1", META, over=None)
        document = store.read("m")
        assert document
        assert (document.data, document.etag, document.last_modified) == (b"1", written.etag, written.at)
        with pytest.raises(ConditionNotMet):
            store.put("m", b"2", {}, over=None)

    def test_over_what_was_read(self, store: Container) -> None:
        """Each write has an etag of its own, and none comes back, not even with the same bytes."""
        etags = [store.put("m", b"1", {}, over=None).etag]
        for _ in range(3):
            etags.append(store.put("m", b"1", {}, over=etags[-1]).etag)
        assert len({*etags}) == len(etags)
        for etag in etags[:-1]:
            with pytest.raises(ConditionNotMet):
                store.put("m", b"2", {}, over=etag)

    def test_over_what_is_gone(self, store: Container) -> None:
        etag = store.put("m", b"1", {}, over=None).etag
        store.delete("m")
        with pytest.raises(ConditionNotMet):
            store.put("m", b"2", {}, over=etag)
        assert store.read("m") is None
        store.put("m", b"2", {}, over=None)

    def test_a_text_whatever_is_there(self, store: Container) -> None:
        for data in (b"1", b"2"):
            store.put_text("l", data, "text/csv")
            document = store.read("l")
            assert document
            assert document.data == data

    def test_the_clock_has_whole_seconds(self, store: Container) -> None:
        written = store.put("m", b"1", {}, over=None)
        assert written.at.microsecond == 0
        assert written.at.tzinfo is not None
        assert abs(datetime.now(UTC) - written.at) < timedelta(minutes=1)
        (blob,) = store.blobs("m")
        assert blob.last_modified == written.at


class TestRead:
    """Small documents."""

    def test_nothing(self, store: Container) -> None:
        assert store.read("nothing") is None

    def test_an_empty_one(self, store: Container) -> None:
        store.put_text("m", b"", "application/json")
        document = store.read("m")
        assert document
        assert document.data == b""

    def test_one_that_is_larger_than_any(
        self, client: ContainerClient, store: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody needs it in memory."""
        monkeypatch.setattr(module, "DOCUMENT_BYTES", 10)
        client.upload_blob("m", b"x" * 10)
        assert store.read("m")
        client.upload_blob("m", b"x" * 11, overwrite=True)
        with pytest.raises(InvalidManifest, match="m has 11 bytes"):
            store.read("m")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity", "nonsense"])
    def test_what_claims_to_be_compressed(
        self, container: ContainerClient, connection_string: str, encoding: str
    ) -> None:
        """It comes as it is stored: a few bytes could fill the memory otherwise."""
        stored = gzip.compress(b" " * 2**20)
        container.upload_blob("m", stored, content_settings=ContentSettings(content_encoding=encoding))
        environ = {"EXPORT_STORAGE": connection_string, "EXPORT_CONTAINER": str(container.container_name)}
        with open_container(load_storage_settings(environ)) as opened:
            document = opened.read("m")
        assert document
        assert document.data == stored


class TestDelete:
    """Deleting is by name, and never of another blob."""

    def test_and_again(self, store: Container) -> None:
        commit(store)
        assert (store.delete(NAME), store.delete(NAME)) == (True, False)
        assert names(store) == []

    def test_only_what_was_read(self, store: Container) -> None:
        store.put_text("m", b"1", "application/json")
        document = store.read("m")
        assert document
        store.put_text("m", b"2", "application/json")
        with pytest.raises(ConditionNotMet):
            store.delete("m", only=document)
        assert store.delete("m", only=store.read("m"))
        assert store.delete("m", only=document) is False

    @pytest.mark.parametrize(
        "name",
        [
            "a/../m",
            "../m",
            "a/./m",
            "./m",
            "a//m",
            "/m",
            "m/",
            "m/..",
            "..",
            ".",
            "",
            "a/../../events/m",
            "a\\..\\m",
            "a/..\\m",
            "a\\\\m",
            "\\m",
            "m\\",
        ],
    )
    def test_no_name_that_a_client_would_fold(self, store: Container, name: str) -> None:
        store.put_text("m", b"1", "application/json")
        with pytest.raises(StorageDenied):
            store.delete(name)
        assert names(store) == ["m"]


class TestListings:
    """Names in order, by what they start with."""

    def test_in_the_order_of_names(self, store: Container) -> None:
        found = ["a/1", "a/10", "a/2", "a/B", "a/b", "a/é", "a0", "b/1"]
        for name in reversed(found):
            store.put_text(name, b"1", "text/plain")
        assert names(store) == found
        assert names(store, "a/") == found[:6]
        assert names(store, "a/1") == found[:2]
        assert names(store, "c") == []

    def test_folders_on_one_level(self, store: Container) -> None:
        for name in ("x/d=1/h=0/a", "x/d=1/h=1/a", "x/d=2/a", "x/d=3", "y/d=1/a"):
            store.put_text(name, b"1", "text/plain")
        assert list(store.folders("x/d=")) == ["x/d=1/", "x/d=2/"]

    def test_a_name_that_a_client_would_fold_is_skipped_and_logged(
        self, client: ContainerClient, store: Container, azurite: Azurite, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A request for it would reach another blob."""
        strange = ["events/date=D1/../date=D2/a", "events/date=D1/./a", "events/date=D1//a", "events/date=D1/a/"]
        commit(store, "events/date=D1/b")
        for name in strange:
            put_as_stranger(client, azurite, name)
        assert names(store) == ["events/date=D1/b"]
        skipped = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(skipped) == len(strange)
        assert all(any(f'"{name}"' in line for line in skipped) for name in strange)

    def test_a_directory_is_no_blob(self, client: ContainerClient, store: Container) -> None:
        """As an account with a hierarchical namespace lists it; one with bytes in it is a blob."""
        client.upload_blob("d", b"", metadata={"hdi_isfolder": "true"})
        client.upload_blob("e", b"1", metadata={"hdi_isfolder": "true"})
        assert names(store) == ["e"]
        store.delete_directories("d/")
        assert [blob.name for blob in client.list_blobs()] == ["e"]


class TestLease:
    """The lock of a day is a lease on its status."""

    @pytest.fixture(autouse=True)
    def blob(self, store: Container) -> None:
        """A blob to be leased."""
        store.put("s", b"1", {}, over=None)

    def state(self, store: Container) -> tuple[bool, bool]:
        document = store.read("s")
        (blob,) = store.blobs("s")
        assert document
        assert blob.leased == document.leased
        return document.leased, document.leased_forever

    def test_one_at_a_time(self, store: Container) -> None:
        assert self.state(store) == (False, False)
        lease = store.lease("s", 15)
        assert lease
        assert self.state(store) == (True, False)
        assert store.lease("s", 15) is None
        lease.renew()
        lease.release()
        assert self.state(store) == (False, False)
        assert store.lease("s", 15)

    def test_writes_name_it(self, store: Container) -> None:
        lease = store.lease("s", 15)
        document = store.read("s")
        assert lease
        assert document
        with pytest.raises(StorageDenied, match="LeaseIdMissing"):
            store.put("s", b"2", {}, over=document.etag)
        with pytest.raises(StorageDenied, match="LeaseIdMissing"):
            store.delete("s")
        with pytest.raises(ConditionNotMet):
            store.put("s", b"2", {}, over='"0xNone"', lease=lease)
        written = store.put("s", b"2", {}, over=document.etag, lease=lease)
        store.put("s", b"3", {}, over=written.etag, lease=lease)

    def test_one_that_was_broken_is_lost(self, store: Container) -> None:
        """Neither renewed nor written under."""
        lease, document = store.lease("s", 15), store.read("s")
        assert lease
        assert document
        lease._client.break_lease(0)  # noqa: SLF001 - as a stranger does
        assert self.state(store) == (False, False)
        for use in (lease.renew, lambda: store.put("s", b"2", {}, over=document.etag, lease=lease)):
            with pytest.raises(ConditionNotMet):
                use()
        other = store.lease("s", 15)
        assert other
        for use in (lease.renew, lease.release, lambda: store.put("s", b"2", {}, over=document.etag, lease=lease)):
            with pytest.raises(ConditionNotMet):
                use()
        store.put("s", b"2", {}, over=document.etag, lease=other)

    def test_one_without_an_end_shows(self, client: ContainerClient, store: Container) -> None:
        lease = client.get_blob_client("s").acquire_lease(-1)
        assert self.state(store) == (False, True)
        assert store.lease("s", 15) is None
        lease.release()

    def test_of_what_is_not_there(self, store: Container) -> None:
        with pytest.raises(ConditionNotMet):
            store.lease("nothing", 15)


class TestContainer:
    """The container itself."""

    def test_exists_once_it_is_made(self, client: ContainerClient, store: Container) -> None:
        store.ensure_exists()
        assert store.name == client.container_name

    def test_gone(self, client: ContainerClient, store: Container) -> None:
        """Every request says so: somebody has to act."""
        client.delete_container()
        uses = (
            lambda: store.read("m"),
            lambda: store.put("m", b"1", {}, over=None),
            lambda: store.stage("m", "try-00000", [b"1"]),
            lambda: store.delete("m"),
            lambda: names(store),
        )
        for use in uses:
            with pytest.raises(StorageDenied, match="EXPORT_CONTAINER"):
                use()


def put_as_stranger(client: ContainerClient, azurite: Azurite, name: str) -> None:
    """Write a blob whose name no client library would send."""
    if isinstance(client, MemoryClient):
        client.upload_blob(name, b"{}")
        return
    soon = datetime.now(UTC) + timedelta(hours=1)
    sas = generate_container_sas(ACCOUNT, client.container_name, account_key=KEY, permission="cw", expiry=soon)
    at = urlsplit(azurite.blob_url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port)
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-08-06"}
    connection.request("PUT", f"{at.path}/{client.container_name}/{name}?{sas}", body=b"{}", headers=headers)
    assert connection.getresponse().status == http.client.CREATED
    connection.close()
