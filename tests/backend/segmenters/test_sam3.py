"""SAM 3 against Ultralytics' own predictors, on weights drawn at random: equality needs no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.domain import Box, Image, Mask, Pixels, Point, Prompt, Segment
from backend.errors import ImageError, ModelError, PromptError
from backend.images.fetch import StoredImage
from backend.segmenters import sam3_checkpoint
from backend.segmenters.base import ImageEncoder, WordReader
from backend.segmenters.embedding_cache import EmbeddingCache
from backend.segmenters.embedding_tiers import DiskTier, MemoryTier
from backend.segmenters.loader import choose
from backend.segmenters.sam3 import Sam3Segmenter
from backend.segmenters.sam3_checkpoint import clip_tokenizer, fuse_attention, load_sam3
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from benchmarks.random_weights import Layout, random_sam3, small_sam3
from label_studio_config.demo.figures import draw_figure

pytestmark = pytest.mark.slow

CLICK, AWAY = Point(200, 300), Point(350, 600, positive=False)
BOX = Box(100, 80, 400, 600)
XYXY = [[100, 80, 400, 600]]
PHRASES = ("silk saree", "blouse")
# Of a random model some instances are above it, and some below.
SCORE = 0.2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of a SAM 3 with few layers, which is built that way as long as the fixture lives."""
    with small_sam3():
        yield random_sam3(tmp_path_factory.mktemp("weights"), seed=1)


def loaded(
    weights: Path,
    *,
    embeddings: EmbeddingCache | None = None,
    metrics: Metrics | None = None,
    min_score: float = SCORE,
    precision: torch.dtype = torch.float32,
) -> Sam3Segmenter:
    sam3 = load_sam3(weights, device="cpu", precision=precision, compiled=False)
    metrics = metrics or Metrics()
    embeddings = embeddings or EmbeddingCache([host()], disk=None, metrics=metrics)
    return Sam3Segmenter(sam3, name="sam3", min_score=min_score, embeddings=embeddings, metrics=metrics)


def host(max_bytes: int = 4 * 10**9) -> MemoryTier:
    return MemoryTier("host", device="cpu", max_bytes=max_bytes)


@pytest.fixture(scope="module")
def sam3(small: Path) -> Sam3Segmenter:
    return loaded(small)


def square(seed: int) -> Image:
    """A drawn figure on a square: there Ultralytics' two predictors prepare the image alike."""
    pixels = draw_figure(seed).pixels
    side = max(pixels.shape[:2])
    canvas = np.full((side, side, 3), 128, np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return Image(canvas, f"square-{seed}", "s")


def upright(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"upright-{seed}", "s")


def overrides(weights: Path, *, min_score: float) -> dict[str, Any]:
    return {
        "model": str(weights),
        "imgsz": sam3_checkpoint.INPUT_SIZE_PX,
        "conf": min_score,
        "task": "segment",
        "mode": "predict",
        "save": False,
        "verbose": False,
    }


@dataclass(frozen=True)
class Theirs:
    """What Ultralytics' predictors answer, called plainly; `fused` is the same as `found`, by fused attention."""

    click: Any
    box: Any
    logits_of_click: torch.Tensor
    refined: torch.Tensor
    found: tuple[tuple[Prompt, Any], ...]
    fused: tuple[tuple[Prompt, Any], ...]


def plainly(
    weights: Path,
    image: Image,
    other: Image,
    *,
    min_score: float = SCORE,
    phrases: Sequence[str] = PHRASES,
    examples: bool = True,
) -> Theirs:
    """Clicks and boxes on `image`, which must be square; words and examples on `other`. Each model goes when used."""
    from ultralytics.models.sam import SAM3Predictor, SAM3SemanticPredictor

    clicks = SAM3Predictor(overrides=overrides(weights, min_score=0))
    clicks.set_image(np.ascontiguousarray(image.pixels[..., ::-1]))
    click = clicks(points=[[CLICK.x, CLICK.y]], labels=[1], multimask_output=True)[0]
    box = clicks(bboxes=XYXY)[0]
    with torch.inference_mode():
        size = (sam3_checkpoint.INPUT_SIZE_PX, sam3_checkpoint.INPUT_SIZE_PX)
        shape = image.pixels.shape[:2]
        first = clicks._prepare_prompts(size, shape, points=[[[CLICK.x, CLICK.y]]], labels=[[1]])
        logits, scores = clicks._inference_features(clicks.features, *first, multimask_output=True)
        both = clicks._prepare_prompts(size, shape, points=[[[CLICK.x, CLICK.y], [AWAY.x, AWAY.y]]], labels=[[1, 0]])
        chosen = logits[_chosen(logits, scores)]
        refined, _ = clicks._inference_features(clicks.features, *both[:2], chosen[None, None].clamp(-32, 32))
        refined = torch.nn.functional.interpolate(refined[None], shape, mode="bilinear", align_corners=False)[0, 0] > 0
    del clicks
    with clip_tokenizer():
        concept = SAM3SemanticPredictor(overrides=overrides(weights, min_score=min_score))
        concept.set_image(np.ascontiguousarray(other.pixels[..., ::-1]))
    asked: list[tuple[Prompt, dict[str, Any]]] = [(Prompt(words=(phrase,)), {"text": [phrase]}) for phrase in phrases]
    if examples:
        asked += [
            (Prompt(examples=(BOX,)), {"bboxes": XYXY}),
            (Prompt(words=PHRASES[:1], examples=(BOX,)), {"bboxes": XYXY, "text": [PHRASES[0]]}),
        ]
    found = tuple((prompt, concept(**named)[0]) for prompt, named in asked)
    fuse_attention(concept.model)
    fused = tuple((prompt, concept(**named)[0]) for prompt, named in asked)
    return Theirs(click, box, chosen, refined, found, fused)


def _chosen(logits: torch.Tensor, scores: torch.Tensor) -> int:
    """The largest of the candidates that score within 0.02 of the best."""
    near = [number for number in range(len(scores)) if scores[number] >= scores.max() - 0.02]
    return max(near, key=lambda number: int((logits[number] > 0).sum()))


def rows(result: Any) -> list[tuple[float, bytes]]:
    """Scores and masks of an Ultralytics result, comparable bit for bit."""
    masks = result.masks.data.cpu().numpy().astype(bool)
    return sorted(
        (float(score), np.packbits(mask).tobytes())
        for score, mask in zip(result.boxes.conf, masks, strict=True)
        if mask.any()
    )


def ours(segments: list[Segment]) -> list[tuple[float, bytes]]:
    return sorted((segment.score, np.packbits(segment.mask).tobytes()) for segment in segments)


def assert_alike(found: list[tuple[float, bytes]], expected: list[tuple[float, bytes]]) -> None:
    """Fused attention rounds otherwise than Ultralytics': by the sixth digit of a score, and a pixel here and there."""
    assert len(found) == len(expected)
    masks = [np.unpackbits(np.frombuffer(mask, np.uint8)) for _, mask in found]
    for score, packed in expected:
        mask = np.unpackbits(np.frombuffer(packed, np.uint8))
        near = [masks[number] for number, (other, _) in enumerate(found) if abs(other - score) < 1e-5]
        assert min(float((one != mask).mean()) for one in near) < 1e-4


def assert_equal(segmenter: Sam3Segmenter, image: Image, other: Image, theirs: Theirs) -> None:
    (click,) = segmenter.segment(image, Prompt(points=(CLICK,)))
    assert (click.score, np.packbits(click.mask).tobytes()) in rows(theirs.click)
    assert len(rows(theirs.click)) == 3
    assert ours(segmenter.segment(image, Prompt(boxes=(BOX,)))) == rows(theirs.box)
    (refined,) = segmenter.segment(image, Prompt(points=(CLICK, AWAY)))
    assert np.array_equal(refined.mask, theirs.refined.numpy())
    assert 0 < refined.mask.mean() < 1 and not np.array_equal(refined.mask, click.mask)
    for (prompt, plain), (_, fused) in zip(theirs.found, theirs.fused, strict=True):
        found = segmenter.segment(other, prompt)
        assert found and {segment.words for segment in found} == {"".join(prompt.words)}
        assert ours(found) == rows(fused)
        assert_alike(rows(fused), rows(plain))


def test_every_answer_is_that_of_ultralytics_also_from_each_tier(small: Path, tmp_path: Path) -> None:
    image, other = square(1), upright(2)
    theirs = plainly(small, image, other)
    disk = DiskTier(tmp_path, max_bytes=10**9)
    encoded = EmbeddingCache([host()], disk=disk, metrics=Metrics())
    segmenter = loaded(small, embeddings=encoded)
    assert_equal(segmenter, image, other, theirs)  # as encoded
    assert_equal(segmenter, image, other, theirs)  # from memory
    encoded.close()
    metrics = Metrics()
    # Memory for one embedding of clicks alone: everything is read from disk again and again.
    restarted = loaded(small, embeddings=EmbeddingCache([host(4_400_000)], disk=disk, metrics=metrics), metrics=metrics)
    assert_equal(restarted, image, other, theirs)
    assert metrics.registry.get_sample_value("drape_encode_seconds_count") == 0


@pytest.mark.services
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_at_full_size_too(tmp_path: Path) -> None:
    weights = random_sam3(tmp_path, seed=1)
    image = square(1)
    # All that the concept head answers, however unsure: untrained it is never sure. Each prompt takes half a minute
    # here, and the small one has answered all kinds of them.
    theirs = plainly(weights, image, image, min_score=0, phrases=PHRASES[:1], examples=False)
    segmenter = loaded(weights, min_score=0)
    assert_equal(segmenter, image, image, theirs)
    heads = (segmenter._sam3.concept.model, segmenter._sam3.clicks.model)
    together = {tensor.data_ptr(): tensor.nbytes for head in heads for tensor in head.state_dict().values()}
    alone = sum(tensor.nbytes for tensor in heads[0].state_dict().values())
    assert sum(together.values()) <= 1.15 * alone


def gone(image: Image) -> StoredImage:
    """A photograph of which only what is known of it is left."""

    def read() -> Pixels:
        raise ImageError("The image is gone.")

    return StoredImage(image.key, image.source, image.size_wh, read)


def test_a_known_image_is_answered_without_its_pixels(sam3: Sam3Segmenter) -> None:
    image = upright(3)
    sam3.prepare(image)
    (expected,) = sam3.segment(image, Prompt(points=(CLICK,)))
    (again,) = sam3.segment(gone(image), Prompt(points=(CLICK,)))
    assert np.array_equal(expected.mask, again.mask)
    with pytest.raises(ImageError):
        sam3.segment(gone(upright(99)), Prompt(points=(CLICK,)))


def test_of_many_phrases_one_is_looked_for_at_a_time(sam3: Sam3Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes half a gigabyte: those of a whole label config at once would take all memory."""
    image, at_once, model = upright(2), [], sam3._sam3.concept.model
    alone = {phrase: sam3.find_words(image, [phrase], min_score=SCORE) for phrase in PHRASES}
    look = model.forward_grounding

    def watched(**given: Any) -> Any:
        at_once.append(len(given["text_ids"]))
        return look(**given)

    monkeypatch.setattr(model, "forward_grounding", watched)
    found = sam3.find_words(image, PHRASES, min_score=SCORE)
    assert at_once == [1] * len(PHRASES)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for phrase in PHRASES:
        assert alone[phrase] and ours([one for one in found if one.words == phrase]) == ours(alone[phrase])


@pytest.mark.parametrize("boxes", [(), (BOX,)])
def test_clicks_mean_the_same_whether_they_come_one_by_one_or_at_once(
    small: Path, sam3: Sam3Segmenter, boxes: tuple[Box, ...]
) -> None:
    image, clicks = upright(4), (CLICK, Point(240, 420), AWAY)
    masks = [sam3.segment(image, Prompt(points=clicks[:count], boxes=boxes))[0].mask for count in (1, 2, 3)]
    assert not np.array_equal(masks[1], masks[2])
    (at_once,) = loaded(small).segment(image, Prompt(points=clicks, boxes=boxes))
    assert np.array_equal(masks[2], at_once.mask)


def test_a_click_that_moves_by_a_pixel_takes_the_same_candidate(sam3: Sam3Segmenter) -> None:
    image = upright(5)
    (here,) = sam3.segment(image, Prompt(points=(CLICK,)))
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        (moved,) = sam3.segment(image, Prompt(points=(Point(CLICK.x + x, CLICK.y + y),)))
        assert _iou(here.mask, moved.mask) > 0.9


def _iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_twenty_threads_on_ten_images(small: Path) -> None:
    metrics = Metrics()
    tier = host(20 * 10**6)  # less than one image's
    roomy = loaded(small)
    images = [upright(seed) for seed in range(10)]
    expected = [roomy.segment(image, Prompt(points=(CLICK,)))[0].mask for image in images]
    segmenter = loaded(small, embeddings=EmbeddingCache([host()], disk=None, metrics=metrics), metrics=metrics)
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda n: segmenter.segment(images[n % 10], Prompt(points=(CLICK,)))[0].mask, range(60)))
    assert all(np.array_equal(mask, expected[number % 10]) for number, mask in enumerate(got))
    assert metrics.registry.get_sample_value("drape_encode_seconds_count") == 10
    bounded = loaded(small, embeddings=EmbeddingCache([tier], disk=None, metrics=Metrics()))
    for image in images[:3]:
        bounded.segment(image, Prompt(points=(CLICK,)))
        assert 0 < tier.used_bytes <= 20 * 10**6


# SAM_HALF, what the CPU says, what embeddings are in
IN_BFLOAT16 = [(True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32)]

# prompt, what the annotator reads
REFUSED = [
    (Prompt(), "Click on the garment"),
    (Prompt(boxes=(BOX, Box(0, 0, 9, 9))), "one box at a time"),
    (Prompt(points=(CLICK,), examples=(BOX,)), "Remove one of the two"),
    (Prompt(words=PHRASES, examples=(BOX,)), "one phrase"),
]


@pytest.mark.parametrize(("prompt", "said"), REFUSED)
def test_what_sam3_cannot_combine_is_refused(sam3: Sam3Segmenter, prompt: Prompt, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        sam3.segment(upright(1), prompt)


def test_a_click_beside_words_means_one_garment(sam3: Sam3Segmenter) -> None:
    image = upright(1)
    (alone,) = sam3.segment(image, Prompt(points=(CLICK,)))
    (beside,) = sam3.segment(image, Prompt(points=(CLICK,), words=("blouse",)))
    assert np.array_equal(alone.mask, beside.mask)


def test_encoded_in_bfloat16_an_image_has_the_same_masks_and_takes_less_memory(
    small: Path,
) -> None:
    image, tier, exact = upright(6), host(), host()
    halved = loaded(small, precision=torch.bfloat16, embeddings=EmbeddingCache([tier], disk=None, metrics=Metrics()))
    whole = loaded(small, embeddings=EmbeddingCache([exact], disk=None, metrics=Metrics()))
    for prompt in (Prompt(points=(CLICK,)), Prompt(boxes=(BOX,))):
        (segment,), (expected,) = halved.segment(image, prompt), whole.segment(image, prompt)
        assert _iou(segment.mask, expected.mask) > 0.95 and abs(segment.score - expected.score) < 0.01
    scores, expected_scores = (
        [one.score for one in of.find_words(image, PHRASES, min_score=0)] for of in (halved, whole)
    )
    assert np.allclose(scores, expected_scores, atol=0.01)
    assert 0 < tier.used_bytes < 0.6 * exact.used_bytes


@pytest.mark.parametrize(("half", "made_for_it", "precision"), IN_BFLOAT16)
def test_a_cpu_encodes_in_bfloat16_if_it_is_made_for_that(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool, made_for_it: bool, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: made_for_it)
    given = Settings(sam3_weights=str(small), device="cpu", data_dir=tmp_path, sam_half=half)
    segmenter = choose(given, Metrics())
    assert isinstance(segmenter, Sam3Segmenter) and segmenter._sam3.precision == precision


@pytest.mark.parametrize("layout", ["sam3", "sam3.1"])
def test_both_layouts_load(small: Path, tmp_path: Path, layout: Layout) -> None:
    weights = random_sam3(tmp_path, layout=layout, seed=2)
    keys = torch.load(weights, weights_only=True).keys()
    assert any("interactive_convs" in key for key in keys) == (layout == "sam3.1")
    segmenter = choose(Settings(sam3_weights=str(weights), device="cpu", data_dir=tmp_path), Metrics())
    assert segmenter.name == layout
    assert isinstance(segmenter, WordReader) and isinstance(segmenter, ImageEncoder)
    (segment,) = segmenter.segment(upright(1), Prompt(points=(CLICK,)))
    assert segment.mask.any()


def test_a_checkpoint_that_lacks_weights_is_refused_with_their_names(small: Path, tmp_path: Path) -> None:
    state = torch.load(small, weights_only=True)
    lacking = {key: value for key, value in state.items() if not key.startswith("tracker.sam_mask_decoder.iou_token")}
    path = tmp_path / "half.pt"
    torch.save(lacking, path)
    with pytest.raises(
        ModelError,
        match=r"half\.pt' is an incomplete SAM 3 checkpoint: 1 weights are missing \(sam_mask_decoder\.iou_token",
    ):
        load_sam3(path, device="cpu", precision=torch.float32, compiled=False)


def test_another_models_checkpoint_is_refused_by_name(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "yolo.pt"
    torch.save({"model": {"0.conv.weight": torch.zeros(3)}}, other)
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: it has no weight 'detector"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)
    other.write_bytes(b"no checkpoint at all")
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: it cannot be read"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)
    state = torch.load(small, weights_only=True)
    state["detector.dot_prod_scoring.hs_proj.weight"] = torch.zeros(3, 3)
    torch.save(state, other)
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: size mismatch"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)


def test_a_missing_file_says_where_to_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"huggingface\.co/facebook/sam3.*SAM3_WEIGHTS"):
        load_sam3(tmp_path / "sam3.pt", device="cpu", precision=torch.float32, compiled=False)
    settings = Settings(sam3_weights=str(tmp_path / "sam3.pt"), data_dir=tmp_path)
    assert choose(settings, Metrics()).name == "classical"
    with pytest.raises(ModelError, match="no SAM 3 weights at"):
        choose(settings.model_copy(update={"segmenter": "sam3"}), Metrics())


def test_a_device_that_is_not_there_is_said(small: Path) -> None:
    with pytest.raises(ModelError, match=r"device 'cuda:9'"):
        load_sam3(small, device="cuda:9", precision=torch.float16, compiled=False)


def test_warming_up_answers_each_kind_of_prompt(sam3: Sam3Segmenter) -> None:
    sam3.warm_up()
