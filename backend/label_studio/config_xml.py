"""A label config's XML, parsed safely, and what is read from it besides labels and regions."""

from __future__ import annotations

from lxml import etree

from backend.errors import LabelConfigError

MESSAGE_NAME = "message"


def parse_xml(xml: str) -> etree._Element:
    """Parses a label config, without entities and document types.

    Raises:
        LabelConfigError: it is not XML, or holds a document type definition.
    """
    # Entities and DTDs are refused altogether: a config needs neither, and both have been used to exhaust parsers.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(xml.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError, LookupError) as e:
        raise LabelConfigError(f"The label config is not valid XML: {e}") from e
    # The parser knows, but the text may not show it: it may declare an encoding that spells a DTD another way.
    if root.getroottree().docinfo.internalDTD is not None:
        raise LabelConfigError("The label config holds a document type definition, which is not allowed.")
    return root


def choice_names(xml: str, control: str, choice: str) -> frozenset[str]:
    """The names that a `<Choice>` of the `<Choices>` tag `control` may have in annotations: its value and its alias.

    Raises:
        LabelConfigError: it is not XML.
    """
    tags = [tag for tag in parse_xml(xml).iter("Choices") if tag.get("name") == control]
    choices = [each for tag in tags for each in tag.iter("Choice") if each.get("value") == choice]
    return frozenset([choice, *(each.get("alias") or choice for each in choices)])


def with_message_tag(xml: str, *, image_tag: str) -> str:
    """The label config with a `<TextArea>` for messages to the annotator, above the image `image_tag`.

    Raises:
        LabelConfigError: it is not XML, or another tag has the name that the control needs.
    """
    root = parse_xml(xml)
    if any(tag.get("name") == MESSAGE_NAME for tag in root.iter(etree.Element)):
        raise LabelConfigError(
            f"A tag of the label config is named '{MESSAGE_NAME}', but is no <TextArea> of the image: the control that "
            "shows why a click was not answered needs that name. Give the tag another name."
        )
    (image,) = [tag for tag in root.iter("Image") if tag.get("name") == image_tag][:1]
    attributes = {"editable": "false", "rows": "1", "maxSubmissions": "1", "placeholder": "messages of the model"}
    control = etree.Element("TextArea", {"name": MESSAGE_NAME, "toName": image_tag, **attributes})
    control.tail = "\n"
    image.addprevious(control)
    return etree.tostring(root, encoding="unicode")
