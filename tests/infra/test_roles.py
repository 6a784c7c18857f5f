"""Who may do what: each role by its name, at the smallest scope."""

import re
from collections.abc import Iterator

from tests.infra.facts import fact
from tests.infra.templates import Declared, Expression, Templates

DATA, HOST, VAULT = "modules/data-storage.bicep", "modules/host-storage.bicep", "modules/vault.bicep"
MONITORING = "modules/monitoring.bicep"

EXPECTED = {
    (HOST, "account", "appPrincipalId", "Storage Blob Data Owner"),
    (HOST, "account", "appPrincipalId", "Storage Queue Data Contributor"),
    (HOST, "account", "appPrincipalId", "Storage Table Data Contributor"),
    (DATA, "account::blobs::container", "appPrincipalId", "Storage Blob Data Contributor"),
    (MONITORING, "applicationInsights", "appPrincipalId", "Monitoring Metrics Publisher"),
    (VAULT, "vault", "appPrincipalId", "Key Vault Secrets User"),
    (VAULT, "vault", "keysPrincipalId", "Key Vault Secrets Officer"),
}

PUBLISHED_IDS = {
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
"""From Azure's table of built-in roles: a wrong id here and there alike would take two slips."""


def assignments(t: Templates) -> Iterator[tuple[str, str, str, str]]:
    """Every role assignment as (file, scope, to whom, role)."""
    for each in t.all("resource", "Microsoft.Authorization/roleAssignments"):
        for role in roles(t, each):
            yield each.file, each["scope"].text, each["properties.principalId"].text, role


def roles(t: Templates, assignment: Declared) -> list[str]:
    """The names of the roles that an assignment, or a loop of them, is about."""
    definition = assignment["properties.roleDefinitionId"].text
    found = re.fullmatch(
        r"subscriptionResourceId\( ?'Microsoft.Authorization/roleDefinitions', roleIds\[(.+)\] ?\)", definition
    )
    assert found, f"{assignment.file}: {assignment.symbol} names no role: {definition}"
    if assignment.loop:
        names: list[str] = t.named("var", assignment.loop, assignment.file).value
        return names
    return [found[1].strip("'")]


@fact(
    (DATA, "  scope: account::blobs::container\n", "  scope: account\n"),
    (DATA, "roleIds['Storage Blob Data Contributor']\n", "roleIds['Storage Blob Data Owner']\n"),
    (HOST, "  'Storage Queue Data Contributor'\n", ""),
    (HOST, "  'Storage Queue Data Contributor'\n", "  'Storage Queue Data Contributor'\n  'Key Vault Secrets User'\n"),
    (VAULT, "    principalId: appPrincipalId", "    principalId: keysPrincipalId"),
    (MONITORING, "  scope: applicationInsights\n", "  scope: resourceGroup()\n"),
)
def test_each_role_at_its_scope(t: Templates) -> None:
    found = list(assignments(t))
    assert set(found) == EXPECTED
    assert len(found) == len(EXPECTED)


@fact(("roles.json", "4633458b-17de-408a-b874-0445c86b69e6", "00482a5a-887f-4fb3-b363-3b7fe8e74483"))
def test_a_name_stands_for_its_role(t: Templates) -> None:
    assert t.json("roles.json") == PUBLISHED_IDS


@fact((VAULT, "= if (!empty(keysPrincipalId)) {", "= {"))
def test_nobody_gets_the_right_to_set_keys_unasked(t: Templates) -> None:
    assert t.named("resource", "keysAreSet", VAULT).condition == "!empty(keysPrincipalId)"
    assert t.named("param", "keysPrincipalId").value == ""


@fact(
    ("main.bicep", "    appPrincipalId: identity.outputs.principalId", "    appPrincipalId: keysPrincipalId"),
)
def test_the_app_is_the_one_identity(t: Templates) -> None:
    principal = Expression("identity.outputs.principalId")
    for symbol, name in (
        ("hostStorage", "appPrincipalId"),
        ("dataStorage", "appPrincipalId"),
        ("vault", "appPrincipalId"),
        ("monitoring", "appPrincipalId"),
    ):
        assert t.named("module", symbol)[f"params.{name}"] == principal
    assert len(t.all("resource", "Microsoft.ManagedIdentity/userAssignedIdentities")) == 1
