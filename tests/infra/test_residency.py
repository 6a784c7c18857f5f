"""Where data may lie: one region, nothing geo-replicated."""

from tests.infra.facts import fact
from tests.infra.templates import Expression, Templates

REGIONLESS = {
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
}
"""Azure has these in no region; they hold names, no event."""

WITHOUT_LOCATION = (
    "Microsoft.Authorization/",
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Storage/storageAccounts/",
    "Microsoft.Web/sites/",
)
"""Parts of another resource, which lie where that lies."""


@fact(
    ("main.bicep", "@allowed(['germanywestcentral'])", "@allowed(['germanywestcentral', 'westeurope'])"),
    ("main.bicep", "param location string = 'germanywestcentral'", "param location string = 'germanynorth'"),
)
def test_one_region_is_allowed(t: Templates) -> None:
    location = t.named("param", "location")
    assert location.decorators["allowed"] == [["germanywestcentral"]]
    assert location.value == "germanywestcentral"


@fact(
    ("modules/data-storage.bicep", "  location: location\n", "  location: 'germanynorth'\n"),
    ("modules/monitoring.bicep", "  location: location\n", "  location: 'global'\n"),
    ("modules/alerts.bicep", "  location: location // `global`", "  location: 'global' // `global`"),
    ("main.bicep", "    location: location\n", "    location: 'westeurope'\n"),
    ("main.bicep", "  location: location\n  tags: tags\n}", "  location: deployment().location\n  tags: tags\n}"),
)
def test_everything_that_can_hold_data_is_in_it(t: Templates) -> None:
    for resource in t.all("resource"):
        if resource.existing or resource.type.startswith(WITHOUT_LOCATION):
            continue
        expected = "global" if resource.type in REGIONLESS else Expression("location")
        assert resource["location"] == expected, f"{resource.file}: {resource.symbol}"
    for module in t.all("module"):
        assert module["params.location"] == Expression("location"), module.symbol
    for file in {each.file for each in t.all("param")} - {"main.bicep"}:
        assert t.named("param", "location", file).value is None, f"{file} has a region of its own"


@fact(
    ("main.bicep", "@allowed(['Standard_LRS', 'Standard_ZRS'])", "@allowed(['Standard_GRS', 'Standard_ZRS'])"),
    ("modules/data-storage.bicep", "['Standard_LRS', 'Standard_ZRS']", "['Standard_LRS', 'Standard_GZRS']"),
    ("modules/host-storage.bicep", "    name: redundancy\n", "    name: 'Standard_RAGRS'\n"),
    ("main.bicep", "storageRedundancy string = 'Standard_ZRS'", "storageRedundancy string = 'Standard_GRS'"),
)
def test_nothing_is_geo_replicated(t: Templates) -> None:
    accounts = t.all("resource", "Microsoft.Storage/storageAccounts")
    assert {account.file for account in accounts} == {"modules/data-storage.bicep", "modules/host-storage.bicep"}
    for account in accounts:
        assert account["sku.name"] == Expression("redundancy"), account.file
        allowed = t.named("param", "redundancy", account.file).decorators["allowed"]
        assert allowed == [["Standard_LRS", "Standard_ZRS"]], account.file
    chosen = t.named("param", "storageRedundancy")
    assert chosen.decorators["allowed"] == [["Standard_LRS", "Standard_ZRS"]]
    assert chosen.value == "Standard_ZRS"
    for symbol in ("hostStorage", "dataStorage"):
        assert t.named("module", symbol)["params.redundancy"] == Expression("storageRedundancy")
