"""Pages with a seal: what is replaced, and what is not."""

import hashlib

import pytest

from bpjax.util.sealed_file import check_replaceable, is_sealed, write_sealed_page


def test_a_page_ends_with_the_digest_of_the_rest(tmp_path):
    path = write_sealed_page("lesson", tmp_path / "new" / "page.html", "<p>δ</p>")
    body, line = path.read_bytes().rsplit(b"\n<!--", 1)
    assert body.decode() == "<p>δ</p>"
    assert line.decode() == f" written by bpjax, sha256 {hashlib.sha256(body).hexdigest()} -->\n"
    assert write_sealed_page("lesson", path, "another") == path and is_sealed(path.read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"page", b"Page"),
        lambda content: content + b" ",
        lambda content: content[:-5],
        lambda content: b"notes",
    ],
)
def test_a_changed_page_is_not_replaced(change, tmp_path):
    path = write_sealed_page("lesson", tmp_path / "page.html", "<p>page</p>")
    path.write_bytes(changed := change(path.read_bytes()))
    with pytest.raises(ValueError, match="`lesson` expected a new file or a page that it has written, got .*page.html"):
        write_sealed_page("lesson", path, "other")
    assert path.read_bytes() == changed


def test_an_empty_file_is_free_and_a_folder_is_not(tmp_path):
    (tmp_path / "empty.html").touch()
    assert check_replaceable("lesson", tmp_path / "empty.html")
    with pytest.raises(ValueError, match="got the folder .*: name a file in it"):
        check_replaceable("lesson", tmp_path)
    with pytest.raises(ValueError, match=r"a path, such as 'page.html', got int"):
        check_replaceable("lesson", 3)  # type: ignore[arg-type]
