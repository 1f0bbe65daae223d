"""Putting off the search for garbage."""

import gc

import pytest

from bpjax.util.garbage import collection_put_off


def test_the_search_is_put_off_and_goes_on_afterwards():
    assert gc.isenabled()
    with pytest.raises(KeyError), collection_put_off():
        assert not gc.isenabled()
        with collection_put_off():
            pass
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
