import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    from small_network import save_model

    return save_model(tmp_path_factory.mktemp("model"))
