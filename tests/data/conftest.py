"""What the tests of preparation share."""

import pytest
from drawn_data import draw_all


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The miniature of every dataset, acquired and prepared with all channels of the catalogue."""
    return draw_all(tmp_path_factory.mktemp("data"))
