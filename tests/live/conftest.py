import pytest


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    from tests.inference.small_network import save_model

    return save_model(tmp_path_factory.mktemp("model"))
