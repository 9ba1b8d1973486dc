import pytest
from pydantic import ValidationError

from iotops.errors import SettingsError
from iotops.settings import Settings, get_settings

SECRETS = list(Settings().secrets())
EARLIER_HOME = """
auth: {jwt_secret: j}
cache: {password: c, port: 16379}
database: {owner_password: o, password: d, port: 15432}
kafka: {bootstrap_servers: "127.0.0.1:19092", idempotent: false}
lake: {access_key: a, endpoint: "http://127.0.0.1:18333", secret_key: s}
mqtt: {password: m, port: 11883, shared_subscription: false, ca_file: null}
prefect: {api_url: "http://127.0.0.1:14200/api"}
ray: {address: "127.0.0.1:16380", dashboard_url: "http://127.0.0.1:8265"}
serve: {port: 8000}
stack: {postgres_password: q, prefect_password: p, mqtt_tls: false, prefect_worker: true, s3_port: 18333,
  filer_port: 18888, master_port: 19333, volume_port: 19340, kafka_port: 19092, postgres_port: 15432,
  valkey_port: 16379, mqtt_port: 11883, prefect_port: 14200, ray_port: 16380, dashboard_port: 8265,
  serve_port: 8000, storage_admin_port: 19646, storage_metrics_port: 19327, ray_metrics_port: 16381,
  ray_agent_port: 16382, ray_client_port: 16383}
"""
"""All that `iotops up` has ever written."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("IOTOPS_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def set_all_secrets(monkeypatch, value="s" * 40):
    for name in SECRETS:
        monkeypatch.setenv(f"IOTOPS_{name.upper().replace('.', '__')}", value)


def test_development_starts_without_secrets():
    assert Settings().environment == "development"


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("weak", ["", "changeme", "short"])
def test_production_names_the_missing_or_default_secret(monkeypatch, name, weak):
    set_all_secrets(monkeypatch)
    monkeypatch.setenv("IOTOPS_ENVIRONMENT", "production")
    variable = f"IOTOPS_{name.upper().replace('.', '__')}"
    assert get_settings().environment == "production"
    get_settings.cache_clear()
    monkeypatch.setenv(variable, weak)
    with pytest.raises(SettingsError, match=variable) as refused:
        get_settings()
    assert "s" * 40 not in str(refused.value)


def test_the_home_file_is_below_the_environment(monkeypatch, tmp_path):
    (tmp_path / "settings.yaml").write_text("kafka: {bootstrap_servers: 'file:1'}\ncache: {port: 7}\n")
    monkeypatch.setenv("IOTOPS_KAFKA__BOOTSTRAP_SERVERS", "environment:1")
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "environment:1"
    assert settings.cache.port == 7


def test_secrets_do_not_print(monkeypatch):
    set_all_secrets(monkeypatch, "very-secret-value-1234567890")
    assert "very-secret-value" not in repr(Settings())


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="unknown_area"):
        Settings(unknown_area=1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IOTOPS_COPILOT__LEAST_CONFIDANCE", "IOTOPS_COPILOT__LEAST_CONFIDENCE"),
        ("IOTOPS_KAFAK__CLIENT", "IOTOPS_KAFKA__CLIENT"),
        ("IOTOPS_KAFKA_CLIENT", "IOTOPS_KAFKA__CLIENT"),
        ("IOTOPS_ENVIROMENT", "IOTOPS_ENVIRONMENT"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_nearest(monkeypatch, name, meant):
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} is no setting; the nearest is {meant}$"):
        get_settings()


@pytest.mark.parametrize("name", ["TEST_DATA", "MODEL_LLM", "STACK_LOG", "TENANT_ID", "FAULT_ROUNDS"])
def test_a_variable_that_is_no_setting_may_be_there(monkeypatch, name):
    monkeypatch.setenv(f"IOTOPS_{name}", "1")
    assert get_settings() == Settings()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("kafka: {bootstrap_server: x}", "kafka.bootstrap_server is no setting; the nearest is kafka.boots"),
        ("kafak: {client: auto}", "kafak is no setting; the nearest is kafka$"),
        ("kafka: [", "cannot be read"),
    ],
)
def test_a_mistyped_key_is_refused_with_its_file(monkeypatch, tmp_path, content, told):
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    monkeypatch.setenv("IOTOPS_CONFIGS", str(tmp_path))
    with pytest.raises(SettingsError, match=told) as refused:
        get_settings()
    assert str(file) in str(refused.value)


def test_the_folder_of_configurations_may_have_settings(monkeypatch, tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "settings.yaml").write_text("cache: {port: 7, answer_ttl_s: 5}")
    (tmp_path / "settings.yaml").write_text("cache: {port: 8}")
    monkeypatch.setenv("IOTOPS_CONFIGS", str(configs))
    assert (get_settings().cache.port, get_settings().cache.answer_ttl_s) == (8, 5)


def test_a_home_of_earlier_versions_is_read(tmp_path):
    (tmp_path / "settings.yaml").write_text(EARLIER_HOME)
    assert get_settings().stack.prefect_password.get_secret_value() == "p"


def test_every_field_is_described():
    for area in Settings.model_fields.values():
        fields = getattr(area.annotation, "model_fields", {"": area})
        assert all(field.description for field in fields.values()), area
