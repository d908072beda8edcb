from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from backend.segmenters.embedding_cache import MAX_UNWRITTEN, EmbeddingCache, embedding_cache
from backend.segmenters.embedding_files import Tensors, fingerprint
from backend.segmenters.embedding_tiers import DiskTier, MemoryTier, SharedTier
from backend.settings import Settings
from backend.storage.store import Folder, Storage
from backend.telemetry.metrics import Metrics

KILOBYTE = 1024


def embedding(number: int) -> dict[str, torch.Tensor]:
    """One kilobyte."""
    return {"a": torch.full((128,), float(number)), "b": torch.full((2, 64), -float(number))}


class Encoder:
    """Makes embeddings, and says how often."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = 0

    def __call__(self) -> Mapping[str, Tensors]:
        self.calls += 1
        return {"clicks": embedding(self.number), "concept": embedding(-self.number)}


def host(kilobytes: int) -> MemoryTier:
    return MemoryTier("host", device="cpu", max_bytes=kilobytes * KILOBYTE)


def same(one: Tensors | None, other: Tensors) -> bool:
    return one is not None and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)


def test_a_memory_tier_lets_the_least_recently_used_go() -> None:
    tier = host(2)
    assert not tier.put("one", embedding(1)) and not tier.put("two", embedding(2))
    assert same(tier.get("one"), embedding(1))
    ((name, evicted),) = tier.put("three", embedding(3))
    assert name == "two" and same(evicted, embedding(2))
    assert tier.get("two") is None and tier.used_bytes == 2 * KILOBYTE


def test_what_is_larger_than_a_tier_drives_nothing_else_out() -> None:
    tier = host(1)
    tier.put("small", embedding(1))
    assert [name for name, _ in tier.put("large", {"a": torch.zeros(1000)})] == ["large"]
    assert tier.get("small") is not None and tier.used_bytes == KILOBYTE


def test_the_disk_keeps_within_its_bound_and_mends_what_is_damaged(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, max_bytes=3 * KILOBYTE)
    for number in range(4):
        tier.put(f"key{number}", embedding(number))
    assert tier.used_bytes <= 3 * KILOBYTE
    assert same(tier.get("key3"), embedding(3)) and tier.get("key0") is None
    (tmp_path / "key3.safetensors").write_bytes(b"not an embedding")
    assert tier.get("key3") is None
    assert not (tmp_path / "key3.safetensors").exists()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]


def test_the_memory_layout_survives_the_disk(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, max_bytes=10**6)
    rows = torch.arange(240.0).reshape(2, 3, 5, 8)
    written = {"rows": rows, "channels": rows.contiguous(memory_format=torch.channels_last), "flat": torch.arange(9.0)}
    tier.put("key", written)
    read = tier.get("key")
    assert same(read, written) and read is not None
    assert {name: tensor.stride() for name, tensor in read.items()} == {
        name: tensor.stride() for name, tensor in written.items()
    }


def test_an_embedding_survives_a_restart_bit_for_bit(tmp_path: Path) -> None:
    encode = Encoder(7)
    first = EmbeddingCache([host(10)], disk=DiskTier(tmp_path, max_bytes=10**6), metrics=Metrics())
    embeddings = first.get("image", "clicks", encode)
    first.wait_until_written()
    metrics = Metrics()
    second = EmbeddingCache([host(10)], disk=DiskTier(tmp_path, max_bytes=10**6), metrics=metrics)
    assert second.has("image", "concept") and not second.has("other", "clicks")
    assert same(second.get("image", "clicks", encode), embeddings)
    assert same(second.get("image", "clicks", encode), embeddings)
    assert encode.calls == 1
    for tier in ("disk", "host"):
        assert metrics.registry.get_sample_value("drape_embedding_lookups_total", {"outcome": tier}) == 1
    assert metrics.registry.get_sample_value("drape_embedding_bytes", {"tier": "host"}) == KILOBYTE


def test_what_the_device_lets_go_moves_to_the_host() -> None:
    device = MemoryTier("device", device="cpu", max_bytes=2 * KILOBYTE)
    metrics = Metrics()
    cache = EmbeddingCache([device, host(100)], disk=None, metrics=metrics)
    encoders = [Encoder(number) for number in range(4)]
    for number, encode in enumerate(encoders):
        cache.get(f"image{number}", "clicks", encode)
    assert same(cache.get("image0", "clicks", encoders[0]), embedding(0))
    assert encoders[0].calls == 1
    assert metrics.registry.get_sample_value("drape_embedding_evictions_total", {"tier": "device"}) >= 4  # type: ignore[operator]


def test_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    cache = EmbeddingCache([host(10)], disk=DiskTier(tmp_path / "file", max_bytes=10**6), metrics=Metrics())
    assert same(cache.get("image", "clicks", Encoder(1)), embedding(1))
    cache.wait_until_written()


def machine(storage: Storage, folder: Path) -> EmbeddingCache:
    """One machine's tiers, over a storage that others have too."""
    shared = SharedTier(storage, folder / "aside", max_bytes=10**6)
    return EmbeddingCache([host(10)], disk=DiskTier(folder / "disk", max_bytes=10**6), metrics=Metrics(), shared=shared)


def test_what_one_machine_has_encoded_another_finds(shared: Storage, tmp_path: Path) -> None:
    encode = Encoder(7)
    one, other = machine(shared, tmp_path / "one"), machine(shared, tmp_path / "other")
    embeddings = one.get("image", "clicks", encode)
    one.wait_until_written()
    assert other.has("image", "concept") and not other.has("another", "concept")
    assert same(other.get("image", "clicks", encode), embeddings) and encode.calls == 1
    other.wait_until_written()
    # Its own disk has it now.
    assert same(DiskTier(tmp_path / "other" / "disk", max_bytes=10**6).get("image-clicks"), embeddings)
    shared.write("embeddings/image-concept.safetensors", b"not an embedding")
    third = machine(shared, tmp_path / "third")
    assert same(third.get("image", "concept", encode), embedding(-7)) and encode.calls == 2
    third.wait_until_written()
    assert not list((tmp_path / "other" / "aside").iterdir())


def test_shared_ones_keep_within_their_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.segmenters.embedding_tiers.PUTS_PER_LISTING", 1)
    storage = Folder(tmp_path / "shared")
    tier = SharedTier(storage, tmp_path, max_bytes=3 * KILOBYTE)
    for number in range(5):
        tier.put(f"key{number}", embedding(number))
        os.utime(tmp_path / "shared" / "embeddings" / f"key{number}.safetensors", (number, number))
    tier.put("last", embedding(9))
    assert tier.used_bytes <= 4 * KILOBYTE and same(tier.get("last"), embedding(9))
    assert set(storage.list_under("embeddings")) == {f"embeddings/{key}.safetensors" for key in ("key4", "last")}


def test_a_storage_that_is_away_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    cache = machine(Folder(tmp_path / "file"), tmp_path / "one")
    assert same(cache.get("image", "clicks", Encoder(1)), embedding(1))
    assert cache.has("image", "clicks") and not cache.has("other", "clicks")
    cache.wait_until_written()


def test_who_encodes_faster_than_the_disk_writes_waits(tmp_path: Path) -> None:
    going, encoded = threading.Event(), list[Tensors]()

    class SlowDisk(DiskTier):
        def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
            assert going.wait(30)
            return super().put(key, tensors)

    cache = EmbeddingCache([host(100)], disk=SlowDisk(tmp_path, max_bytes=10**6), metrics=Metrics())

    def encode_many() -> None:
        for number in range(9):
            encoded.append(cache.get(f"image{number}", "clicks", Encoder(number)))

    thread = threading.Thread(target=encode_many)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and len(encoded) <= MAX_UNWRITTEN // 2
    going.set()
    thread.join(30)
    cache.wait_until_written()
    assert len(encoded) == 9 and len(list(tmp_path.iterdir())) == 18


def test_many_threads_encode_an_image_once_and_get_their_own() -> None:
    cache = EmbeddingCache([host(1000)], disk=None, metrics=Metrics())
    encoders = [Encoder(number) for number in range(10)]
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda n: cache.get(f"image{n % 10}", "clicks", encoders[n % 10]), range(400)))
    assert [encode.calls for encode in encoders] == [1] * 10
    assert all(same(one, embedding(number % 10)) for number, one in enumerate(got))


def test_who_has_an_embedding_never_waits_for_anothers_encoding() -> None:
    cache = EmbeddingCache([host(10)], disk=None, metrics=Metrics())
    cache.get("kept", "clicks", Encoder(1))
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Mapping[str, Tensors]:
        started.set()
        assert go_on.wait(30)
        return Encoder(2)()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "new", "clicks", slow)
        assert started.wait(30)
        assert same(cache.get("kept", "clicks", Encoder(1)), embedding(1))
        assert not waiting.done()
        go_on.set()
        assert same(waiting.result(30), embedding(2))


def test_who_works_ahead_lets_an_annotator_go_first() -> None:
    cache = EmbeddingCache([host(10)], disk=None, metrics=Metrics())
    started, go_on, order = threading.Event(), threading.Event(), []

    def encode(name: str) -> Mapping[str, Tensors]:
        if name == "first":
            started.set()
            assert go_on.wait(30)
        order.append(name)
        return Encoder(1)()

    def ask(name: str, *, urgent: bool) -> None:
        cache.get(name, "clicks", lambda: encode(name), urgent=urgent)

    threads = [threading.Thread(target=ask, args=("first",), kwargs={"urgent": True})]
    threads[0].start()
    assert started.wait(30)
    for name, urgent in (("ahead", False), ("annotator", True)):
        threads.append(threading.Thread(target=ask, args=(name,), kwargs={"urgent": urgent}))
        threads[-1].start()
        while name not in cache._encoding_locks or cache._turns._urgent < urgent:
            time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "annotator", "ahead"]


def test_an_encoding_that_fails_leaves_the_way_free() -> None:
    cache = EmbeddingCache([host(10)], disk=None, metrics=Metrics())

    def broken() -> Mapping[str, Tensors]:
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        cache.get("image", "clicks", broken)
    assert same(cache.get("image", "clicks", Encoder(3)), embedding(3))


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for number in range(2):
        path = tmp_path / f"{number}.pt"
        torch.save({"weight": torch.full((1000, 1000), float(number))}, path)
        prints.add(fingerprint(path))
    assert len(prints) == 2


def test_a_lower_limit_of_the_disk_counts_for_what_is_there_already(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, embedding_disk_bytes=1000)
    folder = tmp_path / "embeddings"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.safetensors").write_bytes(bytes(400))
        os.utime(folder / f"{number}.safetensors", (number, number))
    embedding_cache(settings, device="cpu", metrics=Metrics())
    assert sorted(path.name for path in folder.iterdir()) == ["1.safetensors", "2.safetensors"]
    embedding_cache(settings.model_copy(update={"embedding_disk_bytes": 0}), device="cpu", metrics=Metrics())
    assert list(folder.iterdir()) == []
