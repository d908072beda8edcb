"""The palettes that come with Drape: labels, the names that data sets use for them, and the words for prompts.

`palette_xml` gives labels their colours and hot keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backend.label_studio.label_config import Label
from label_studio_config.palette_xml import palette


def _labels(rows: Sequence[tuple[str, str, str]]) -> tuple[Label, ...]:
    """Makes labels from rows: value, names that data sets and models use for it (separated by commas), and prompt.

    These names are not an `alias`, which Label Studio would store in annotations in place of the value.
    """
    return tuple(
        Label(
            value,
            prompt=prompt,
            predicted_values=frozenset(name.strip().casefold() for name in names.split(",") if name.strip()),
        )
        for value, names, prompt in rows
    )


SAREE = _labels(
    [
        ("saree body", "", "draped saree"),
        ("pallu", "", "saree end over the shoulder"),
        ("blouse", "", "saree blouse"),
        ("petticoat", "", "petticoat below a saree"),
        ("border", "", "woven border of a saree"),
    ]
)
INDO_WESTERN = _labels(
    [
        ("kurta", "", "long kurta"),
        ("kurti", "", "short kurti"),
        ("jacket", "", "jacket"),
        ("shrug", "", "open shrug"),
        ("shawl", "", "shawl"),
        ("dupatta", "", "dupatta scarf"),
        ("blouse", "", "blouse"),
        ("top", "", "top"),
        ("co-ord top", "co-ord set top", "matching top of a co-ord set"),
        ("co-ord bottom", "co-ord set bottom", "matching trousers of a co-ord set"),
        ("palazzo", "", "wide palazzo trousers"),
        ("churidar", "", "tight churidar trousers"),
        ("skirt", "", "skirt"),
        ("lehenga", "", "lehenga skirt"),
        ("dress", "", "dress"),
        ("belt", "", "belt"),
        ("bag", "", "bag"),
    ]
)
# Jia et al. 2020: the 27 main garments and accessories, with the data set's own names.
FASHIONPEDIA = _labels(
    [
        ("shirt", "shirt, blouse", "shirt or blouse"),
        ("top", "top, t-shirt, sweatshirt", "top or t-shirt"),
        ("sweater", "", ""),
        ("cardigan", "", ""),
        ("jacket", "", ""),
        ("vest", "", ""),
        ("pants", "", ""),
        ("shorts", "", ""),
        ("skirt", "", ""),
        ("coat", "", ""),
        ("dress", "", ""),
        ("jumpsuit", "", ""),
        ("cape", "", ""),
        ("glasses", "", ""),
        ("hat", "", ""),
        ("head covering", "headband, head covering, hair accessory", "headband or head covering"),
        ("tie", "", ""),
        ("glove", "", ""),
        ("watch", "", "wrist watch"),
        ("belt", "", ""),
        ("leg warmer", "", ""),
        ("tights", "tights, stockings", "tights or stockings"),
        ("sock", "", ""),
        ("shoe", "", ""),
        ("bag", "bag, wallet", "bag"),
        ("scarf", "", ""),
        ("umbrella", "", ""),
    ]
)
# The subset that is used in practice, without labels that are rarely worn or hardly visible.
FASHIONPEDIA_23 = tuple(label for label in FASHIONPEDIA if label.value not in {"tie", "glove", "sock", "umbrella"})
# Ge et al. 2019.
DEEPFASHION2 = _labels(
    [
        ("short sleeve top", "", ""),
        ("long sleeve top", "", ""),
        ("short sleeve outwear", "", "short sleeve jacket"),
        ("long sleeve outwear", "", "long sleeve jacket"),
        ("vest", "", ""),
        ("sling", "", "sling top"),
        ("shorts", "", ""),
        ("trousers", "", ""),
        ("skirt", "", ""),
        ("short sleeve dress", "", ""),
        ("long sleeve dress", "", ""),
        ("vest dress", "", "sleeveless dress"),
        ("sling dress", "", ""),
    ]
)
# Liang et al. 2015: its 18 classes without the first, the background, which nobody draws.
ATR = _labels(
    [
        ("hat", "", ""),
        ("hair", "", ""),
        ("sunglasses", "", ""),
        ("upper clothes", "Upper-clothes", "shirt, jacket or other upper clothes"),
        ("skirt", "", ""),
        ("pants", "", ""),
        ("dress", "", ""),
        ("belt", "", ""),
        ("left shoe", "Left-shoe", ""),
        ("right shoe", "Right-shoe", ""),
        ("face", "", ""),
        ("left leg", "Left-leg", "bare left leg"),
        ("right leg", "Right-leg", "bare right leg"),
        ("left arm", "Left-arm", "bare left arm"),
        ("right arm", "Right-arm", "bare right arm"),
        ("bag", "", ""),
        ("scarf", "", ""),
    ]
)
# The 59 names of Clothing Co-Parsing (Yang et al. 2014) but for what is no garment, or as small as a ring.
STREET = _labels(
    [
        ("outerwear", "blazer, cape, cardigan, coat, jacket, suit, vest", "jacket, coat or cardigan"),
        (
            "top",
            "blouse, bodysuit, bra, hoodie, jumper, shirt, sweater, sweatshirt, t-shirt, top",
            "shirt, blouse or sweater",
        ),
        ("dress", "dress, romper", ""),
        ("skirt", "", ""),
        ("trousers", "pants, jeans, leggings", ""),
        ("shorts", "", ""),
        ("scarf", "", ""),
        ("bag", "bag, purse, wallet", ""),
        ("belt", "", ""),
        ("hat", "", ""),
        (
            "shoes",
            "boots, clogs, flats, heels, loafers, pumps, sandals, shoes, sneakers, wedges",
            "pair of shoes",
        ),
        ("stockings", "socks, stockings, tights", "tights or socks"),
    ]
)
CLOTHING = _labels([("clothing", "", "garment")])

PALETTES: Mapping[str, tuple[Label, ...]] = {
    "saree": SAREE,
    "indo_western": INDO_WESTERN,
    "fashionpedia": FASHIONPEDIA,
    "fashionpedia_23": FASHIONPEDIA_23,
    "deepfashion2": DEEPFASHION2,
    "atr": ATR,
    "street": STREET,
    "clothing": CLOTHING,
}


def file_of(name: str) -> Path:
    """Returns the XML file of a palette, for Label Studio's own settings page."""
    return Path(__file__).with_name(f"{name}.xml")


def write_files() -> None:
    """Writes all XML files again: run `python -m label_studio_config.palettes` after a change here."""
    for name, labels in PALETTES.items():
        file_of(name).write_text(palette(labels), encoding="utf-8")


if __name__ == "__main__":
    write_files()
