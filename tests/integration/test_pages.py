"""The blocks of pages that need other packages, each in a namespace of its own."""

import pytest
from integration.hub import local_hub
from integration.pages import BLOCKS, PAGE


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """huggingface_hub with a hub on this machine in the place of its own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with local_hub() as address:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        # Releases before 2 have a copy of it.
        monkeypatch.setattr(
            "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
        )
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_local")
        yield


@pytest.mark.parametrize("package", BLOCKS)
def test_a_block_runs(package, tmp_path, monkeypatch, request):
    pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "huggingface_hub":
        request.getfixturevalue("hub")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[package], f"{PAGE.name}, {package}", "exec"), {"__name__": package})
