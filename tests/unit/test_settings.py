import pytest
from pydantic import ValidationError

from iotops.errors import SettingsError
from iotops.settings import Settings, get_settings

SECRETS = list(Settings().secrets())


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


def test_every_field_is_described():
    for area in Settings.model_fields.values():
        fields = getattr(area.annotation, "model_fields", {"": area})
        assert all(field.description for field in fields.values()), area
