"""What answers must not carry, and personal data in texts."""

import os
import subprocess
import sys

import pytest

from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import ToolCall
from ray_apps.copilot.guard.answers import AnswerCheck
from ray_apps.copilot.guard.personal import PERSONAL_KINDS, personal_data, scrubbed
from ray_apps.copilot.guard.secret_patterns import secrets_in
from tests.unit.guards import rules_alone

SOURCES = ["lake://acme/documents/hx200.md See https://docs.acme.example/hx200/errors. for details."]
# Put together here, so that no scanner takes this file for a leak.
KEY_BODY = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
SECRETS = {
    "aws_key": "AKIA" + "IOSFODNN7EXAMPLE",
    "github_token": "ghp_" + KEY_BODY,
    "gitlab_token": "glpat-" + KEY_BODY[:20],
    "slack_token": "xoxb-" + "1234567890-abcdef",
    "google_key": "AIza" + KEY_BODY[:35],
    "stripe_key": "sk_live_" + KEY_BODY[:24],
    "model_provider_key": "sk-proj-" + KEY_BODY,
    "json_web_token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0." + "c2lnbmF0dXJlLWhlcmU",
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n-----END RSA " + "PRIVATE KEY-----",
    "password_in_url": "postgresql://" + "iotops:hunter2@db.internal",
    "bearer_token": "Bearer " + KEY_BODY,
    "basic_credentials": "Authorization: Basic " + "aW90b3BzOmh1bnRlcjI" + "=",
}

FRESH = """
import sys
asked = []
network = "socket.connect", "socket.getaddrinfo"
sys.addaudithook(lambda event, _: asked.append(event) if event in network else None)
from ray_apps.copilot.guard.personal import scrubbed
print(scrubbed("mail ann@example.com, call +49 30 901820"))
print(asked, [name for name in ("torch", "transformers") if name in sys.modules])
"""


def check(personal=("credit_card",)):
    check = AnswerCheck(Tenant("acme"), personal)
    check.allow(SOURCES)
    return check


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_recognised_and_leaves_nothing_of_itself(kind):
    text = f"The gateway uses {SECRETS[kind]} for uploads."
    assert [found for _, _, found in secrets_in(text)] == [kind]
    cleaned = check().clean(text)
    assert SECRETS[kind][-20:] not in cleaned
    assert cleaned.startswith("The gateway uses [removed: secret]")
    assert cleaned.endswith("for uploads.")


@pytest.mark.timeout(60)
def test_no_text_of_a_device_keeps_the_search_for_secrets_busy():
    for piece in ("a-", "a.", "eyJ-", "x=", "Bearer "):
        assert not list(secrets_in("fault of pump 1 " + piece * 100_000))


@pytest.mark.parametrize("named", ["password: ", "admin_password=", 'api_key = "', "the token is "])
def test_a_value_that_is_called_a_secret_is_one(named):
    check_ = check()
    cleaned = check_.clean(f"Use {named}Tr0ub4dor-3 to log in.")
    assert "Tr0ub4dor" not in cleaned
    assert named.strip() in cleaned
    assert check_.removed == {"secret": 1}


@pytest.mark.parametrize(
    "text",
    [
        "Set password=<your password> in the menu.",
        "Set telemetry_interval to 10 s; the events_buffer holds 50.",
        "The password is required after a restart.",
        "Change the password: changeme must not stay.",
        "The token is refreshed automatically.",
        "password = ${GATEWAY_PASSWORD}",
        "E421 on HX-200 means that 7.1 mm/s was exceeded at 2026-11-20 10:15 UTC.",
        "The serial number is SN-4532-2766-4457-7021.",
        "tenant: acme sends to telemetry_acme and reads lake://shared/manuals/hx200.pdf.",
        "See https://docs.acme.example/hx200/errors, which is //docs.acme.example/hx200/errors.",
        "Of LAKE://acme/documents/hx200.md: the sensor's data: 5 mm/s², in C:\\logs or and/or /var//log.",
        "Tenant: acme, TENANT=ACME, tenantId: acme, for tenant acme, of the tenant 'acme'.",
        "There are per tenant quotas, and each tenant has one.",
        "Limits are a count per tenant: one cannot use up another's.",
        "Set tenant_mode=strict for tenant isolation, or multi-tenant: yes for a list of tenant users.",
        "Ask the administrator of the tenant for it; what is sent by tenant devices goes to tenant topics.",
        "The header is Authorization: Basic credentials, as in authorization: Basic authentication.",
    ],
)
def test_what_is_no_secret_stays(text):
    check_ = check(PERSONAL_KINDS)
    assert check_.clean(text) == text
    assert not check_.removed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("See lake://globex/documents/plan.md.", "See [removed: other_tenant]"),
        ("See LAKE://globex/documents/plan.md.", "See [removed: other_tenant]"),
        ("Stored in S3://lake/globex/silver/x.parquet now", "Stored in [removed: other_tenant] now"),
        ("Stored in s3://lake/globex/silver/x.parquet now", "Stored in [removed: other_tenant] now"),
        ("Topic telemetry_globex is full.", "[removed: other_tenant] is full."),
        ("The alerts_globex topic is full.", "The [removed: other_tenant] is full."),
        ("Consumers of events_globex lag.", "[removed: other_tenant] lag."),
        ("tenants/globex/devices/d1/events", "[removed: other_tenant]"),
        ("tenant_id=globex", "[removed: other_tenant]"),
        ("Tenant: globex is full", "[removed: other_tenant] is full"),
        ("TENANT=GLOBEX", "[removed: other_tenant]"),
        ('{"tenantId": "globex"}', '{"[removed: other_tenant]"}'),
        ("**Tenant name:** globex", "**[removed: other_tenant]"),
        ("Ask the tenant `globex` for it", "Ask the [removed: other_tenant] for it"),
        ("Sent for tenant globex, twice.", "Sent [removed: other_tenant], twice."),
        ("The pumps of the tenant globex stand still.", "The pumps [removed: other_tenant] stand still."),
    ],
)
def test_names_of_another_tenant_are_removed(text, left):
    assert check().clean(text) == left


def test_only_links_of_the_sources_stay():
    check_ = check()
    text = (
        "Read https://docs.acme.example/hx200/errors, then http://evil.example/?q=secret or www.evil.example!"
    )
    assert check_.clean(text) == (
        "Read https://docs.acme.example/hx200/errors, then [removed: link] or [removed: link]!"
    )
    assert check_.removed == {"link": 2}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("See ![x](//evil.example/p?d=machine-006).", "See ![x]([removed: link])."),
        ("See [x](\\\\evil.example/p).", "See [x]([removed: link])."),
        ("[x]://evil.example/p", "[x]:[removed: link]"),
        ("See [x](https:/evil.example).", "See [x]([removed: link])."),
        ("[open](JavaScript:location=1)", "[open]([removed: link])"),
        ("[open](data:text/html,hi) now", "[open]([removed: link]) now"),
        ("Get ftp://evil.example/x now", "Get [removed: link] now"),
        (
            "At 7.1 mm/s² see ht\u200btps://evil.ex\u200bample/x ², now",
            "At 7.1 mm/s² see [removed: link] ², now",
        ),
        ("See \uff48\uff54\uff54\uff50\uff53://evil.example/x.", "See [removed: link]."),
        ("See LA\u200bKE://glo\u200bbex/plan.md.", "See [removed: other_tenant]"),
    ],
)
def test_no_other_spelling_of_a_link_stays(text, left):
    assert check().clean(text) == left


def test_a_link_that_carries_a_password_leaves_nothing_behind():
    cleaned = check().clean("Open https://admin:" + "hunter22@evil.example/path?token=abcdefgh12345678 now")
    assert "hunter22" not in cleaned
    assert "abcdefgh12345678" not in cleaned


def test_personal_data_goes_by_policy():
    text = "Card 4532 2766 4457 7020 of ann@example.com"
    assert check(["credit_card"]).clean(text) == "Card [removed: credit_card] of ann@example.com"
    assert check([]).clean(text) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Mail ann.lee+ops@mail.example.com please", "email"),
        ("ann@plant.local has the key", "email"),
        ("Call +49 30 901820 today", "phone"),
        ("call me at (96) 627-277 please", "phone"),
        ("Fax 212-555-0143.", "phone"),
        ("Ann Lee, 212-555-0143", "phone"),
        ("phone 030 901820", "phone"),
        ("(+44 20 7946 0018)", "phone"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
        ("my iban is gb82west12345698765432", "iban"),
        ("card 5213591727586604 for", "credit_card"),
        ("card 4532 2766 4457 7020 123", "credit_card"),
        ("paid with 2223-0031-2200-3222", "credit_card"),
        ("paid with 3782 822463 10005", "credit_card"),
        ("paid with 630427373398", "credit_card"),
        ("SSN 536-90-4399", "us_ssn"),
        ("of 536-90-4399", "us_ssn"),
        ("social security number 536904399", "us_ssn"),
        ("from 58.74.121.78 blocked", "ip_address"),
        ("http://58.74.121.78:8443/x refused", "ip_address"),
        ("from 2001:db8::ff00:42:8329 blocked", "ip_address"),
    ],
)
def test_personal_data_is_found(text, kind):
    assert [found for _, _, found in personal_data(text, PERSONAL_KINDS)] == [kind]
    assert f"<{kind}>" in scrubbed(text)


@pytest.mark.parametrize(
    "text",
    [
        "card 5213591727586605",
        "IBAN GB82 WEST 1234 5698 7654 31",
        "SSN 666-05-1120",
        "readings 536 90 4399 of 536904399",
        "at 10:15:30 on 2026-11-20",
        "at 2026-11-20T23:00:00.123456Z, epoch 1732701234567, 1640702543264008 us",
        "firmware 2.3.1.400",
        "firmware 4.2.1.0, version: 4.2.1.0, v4.2.1.0, HX-4.2.1.0",
        "article 4006381333108, serial 2125550143, counter 4294967295",
        "serial HX-4532-2766-4457-7020, part 212-555-0143-A, AB-536-90-4399",
        "machine-006: E421, 0x1F, +1250 rpm, -40 to +85 C, 7.1 mm/s, 84:CC:A8:64:B7:68",
        "call 12 operators, telemetry 12345678, offset +4912345678",
        "pip install gateway@1.2.3, operator@gateway-7",
        "device HX-200-4532-2766 sent 1234567890123 readings",
        "alarm 2201 at 120 bar, 1,250 h, part 40-7731-22",
    ],
)
def test_numbers_of_machines_are_not_personal(text):
    assert scrubbed(text) == text


def test_no_string_of_a_tools_result_is_too_short_to_be_cleaned():
    guard, check_ = rules_alone(), check()
    result = {
        "events": [
            {"message": "password=Tr0ub4dor&3x"},
            {"message": SECRETS["aws_key"]},
            {"message": "stop now"},
        ],
        "latest": {"metrics": {"vibration": 7.1, SECRETS["aws_key"]: 1}},
        "alerts": ({"evidence": "see http://evil.example/x"}, {"evidence": "4532 2766 4457 7020"}, None),
    }
    (tool,) = guard.cleaned([ToolCall(name="look", arguments={}, result=result)], check_)
    assert tool.result == {
        "events": [
            {"message": "password=[removed: secret]"},
            {"message": "[removed: secret]"},
            {"message": "stop now"},
        ],
        "latest": {"metrics": {"vibration": 7.1, "[removed: secret]": 1}},
        "alerts": [{"evidence": "see [removed: link]"}, {"evidence": "[removed: credit_card]"}, None],
    }
    assert check_.removed == {"secret": 2, "link": 1, "credit_card": 1}, "each text once"


def test_what_finds_personal_data_asks_no_network_and_leaves_the_models_out(tmp_path):
    # In a process of its own, where nothing is loaded yet and no list of domains was ever kept.
    told = subprocess.run(
        [sys.executable, "-c", FRESH],
        env={**os.environ, "TLDEXTRACT_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert told == "mail <email>, call <phone>\n[] []\n"
