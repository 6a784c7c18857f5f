// The storage account that holds the events.

@description('Required. Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Redundancy inside the region.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param redundancy string

@description('Required. Name of the container that the days land in.')
param containerName string

@description('Required. What the app puts before every blob name.')
param prefix string

@description('Required. Name of the identity of the app. Role assignments are named after it.')
param appIdentityName string

@description('Required. Object id of the identity of the app.')
param appPrincipalId string

@description('Required. Forbids that the account is deleted.')
param protect bool

@description('Required. Turns access from public networks off; private endpoints take its place.')
param privateNetworking bool

@description('Required. Addresses that may reach the account all the same while private networking is on.')
param allowedIpAddresses array

@description('Required. Days after its last change that an event blob moves to the cool tier.')
param coolAfterDays int

@description('Required. Days that a deleted blob or container can be restored.')
param deletedRetentionDays int

@description('Required. Days that an old version of a blob is kept.')
param oldVersionDays int

@description('Required. Workspace that receives diagnostic logs.')
param workspaceId string

// Azure's built-in roles by name; their ids are the same in every tenant.
var roleIds = loadJsonContent('../roles.json')

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: privateNetworking && empty(allowedIpAddresses) ? 'Disabled' : 'Enabled'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      bypass: 'None'
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
      ipRules: [
        for address in allowedIpAddresses: {
          action: 'Allow'
          value: address
        }
      ]
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      isVersioningEnabled: true
      deleteRetentionPolicy: {
        enabled: true
        days: deletedRetentionDays
      }
      containerDeleteRetentionPolicy: {
        enabled: true
        days: deletedRetentionDays
      }
    }

    resource container 'containers' = {
      name: containerName
    }
  }

  resource lifecycle 'managementPolicies' = {
    name: 'default'
    properties: {
      policy: {
        rules: [
          {
            name: 'events-cool-down'
            enabled: true
            type: 'Lifecycle'
            definition: {
              filters: {
                blobTypes: ['blockBlob']
                prefixMatch: ['${containerName}/${prefix}events/']
              }
              // No rule deletes a current blob by its age. A lifecycle rule goes blob by blob, by each one's last
              // change, and a day would lose blobs under a manifest that still lists them. Retention is the app's
              // business (EXPORT_RETENTION_DAYS): it takes the manifest away first.
              actions: {
                baseBlob: {
                  tierToCool: {
                    daysAfterModificationGreaterThan: coolAfterDays
                  }
                }
              }
            }
          }
          {
            name: 'old-versions-go'
            enabled: true
            type: 'Lifecycle'
            definition: {
              filters: {
                blobTypes: ['blockBlob']
              }
              actions: {
                version: {
                  delete: {
                    daysAfterCreationGreaterThan: oldVersionDays
                  }
                }
              }
            }
          }
        ]
      }
    }
    // A rule about versions is refused while versioning is off.
    dependsOn: [blobs]
  }
}

// The container only, not the account: the app has no business in another one.
resource appWrites 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account::blobs::container
  name: guid(account::blobs::container.id, appIdentityName, roleIds['Storage Blob Data Contributor'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Blob Data Contributor']
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// It holds off `azd down`, the portal and a mistyped command. Blobs can still be written and deleted.
resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (protect) {
  scope: account
  name: 'keep-events'
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds exported events. The deployment guide says how to leave with or without them.'
  }
}

resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageRead'
        enabled: true
      }
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

@description('Name of the account.')
output name string = account.name

@description('Resource id of the account.')
output id string = account.id

@description('URL of the blob service.')
output blobServiceUrl string = account.properties.primaryEndpoints.blob
