// Private ways to the storage accounts and the vault, and the DNS zones by which the app finds them.

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Resource id of the virtual network.')
param networkId string

@description('Required. Resource id of the subnet that the endpoints stand in.')
param subnetId string

@description('Required. Resource id of the storage account with the events.')
param dataStorageId string

@description('Required. Resource id of the storage account of the Functions host.')
param hostStorageId string

@description('Required. Resource id of the vault.')
param vaultId string

var zoneNames = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  // `suffixes.keyvaultDns` starts with a dot and has no "core" in it; the zone's name is fixed.
  vault: 'privatelink.vaultcore.azure.net'
}

var services = ['blob', 'queue', 'table', 'vault']

var endpoints = [
  { name: 'data-blob', target: dataStorageId, service: 'blob' }
  { name: 'host-blob', target: hostStorageId, service: 'blob' }
  { name: 'host-queue', target: hostStorageId, service: 'queue' }
  { name: 'host-table', target: hostStorageId, service: 'table' }
  { name: 'vault', target: vaultId, service: 'vault' }
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: {
    name: zoneNames[service]
    location: 'global' // a zone holds names, no data, and knows no region
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, i) in services: {
    parent: zones[i]
    name: 'app'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: networkId
      }
    }
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2025-01-01' = [
  for endpoint in endpoints: {
    name: 'pe-${endpoint.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: endpoint.target
            groupIds: [endpoint.service]
          }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-01-01' = [
  for (endpoint, i) in endpoints: {
    parent: privateEndpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: endpoint.service
          properties: {
            privateDnsZoneId: zones[indexOf(services, endpoint.service)].id
          }
        }
      ]
    }
    dependsOn: [links]
  }
]
