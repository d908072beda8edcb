"""What `drape up` tells people."""

from __future__ import annotations

from backend.settings import Settings
from launcher.commands.run import first_steps


def test_predictions_are_promised_only_where_a_model_makes_them() -> None:
    settings = Settings(retrain_after=7, retrain_min_images=9)
    with_model, without = (first_steps(settings, has_model=has_model) for has_model in (True, False))
    assert "predictions" in with_model[0] and "predictions" not in without[0]
    assert "After 9 submitted images" in with_model[2] and "again" in with_model[2]
    assert "After 9 submitted images" in without[2] and "a first model" in without[2]
