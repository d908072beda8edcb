from launcher.dev.settings_page import PAGE, settings_page


def test_the_page_in_the_docs_is_that_of_the_class() -> None:
    assert PAGE.read_text() == settings_page()
