from __future__ import annotations

from pathlib import Path

from backend.settings import Settings
from launcher.stack.leftovers import delete_all_leftovers
from training.runs import evaluation_folder


def test_leftovers_are_deleted_where_drape_writes_and_nowhere_else(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", model_dir=tmp_path / "elsewhere")
    ours = [
        settings.models_path / "7" / "index" / ".3.json.4711-0a1b2c3d",
        settings.models_path / "7" / "yolo11n-seg-v3-0a1b2c" / ".half-x8" / "openvino.xml",
        settings.cache_path / "models" / "7" / ".half-x8" / "weights.pt",
        settings.data_dir / "embeddings" / ".key.safetensors.4711-0a1b2c3d",
        settings.data_dir / "training" / "7" / ".half-x8" / "train.txt",
        evaluation_folder(settings).with_name(".half-x8") / "1-640.npy",
    ]
    others = [
        settings.data_dir / "label-studio" / "media" / ".half-worn.jpg",
        settings.data_dir / "redis" / ".half-x8",
        settings.data_dir / "embeddings" / "key.safetensors",
        settings.models_path / "7" / "index" / "3.json",
    ]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    delete_all_leftovers(settings)
    assert not [path for path in ours if path.exists()] and all(path.exists() for path in others)
