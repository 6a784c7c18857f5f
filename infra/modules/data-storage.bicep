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

@description('Required. Text that the app puts before every blob name.')
param prefix string

@description('Required. Name of the identity of the app. Role assignments are named after it, so that what-if can predict them.')
param appIdentityName string

@description('Required. Object id of the identity of the app.')
param appPrincipalId string

@description('Required. Object id of a person, group or application that may read the events. Empty adds nobody.')
param readerPrincipalId string

@description('Required. Puts a lock on the account, so that nobody deletes it by accident.')
param protect bool

@description('Required. Gives the account real directories (ADLS Gen2). You cannot change this after the account is created.')
param hierarchicalNamespace bool

@description('Required. Turns access from public networks off; private endpoints take its place.')
param privateNetworking bool

@description('Required. Public addresses that may still reach the account while private networking is on.')
param allowedIpAddresses array

@description('Required. Event blobs move to the cool tier this many days after their last change.')
param coolAfterDays int

@description('Required. For how many days a deleted blob or container can be restored.')
param deletedRetentionDays int

@description('Required. An old version of a blob is deleted this many days after it was written.')
param oldVersionDays int

@description('Required. Workspace that receives diagnostic logs.')
param workspaceId string

// Azure's built-in roles by name; their ids are the same in every tenant.
var roleIds = loadJsonContent('../roles.json')

// No rule deletes a current blob by its age. A lifecycle rule looks at one blob at a time, so a day would lose blobs while
// its manifest still lists them. The app deletes old days itself (EXPORT_RETENTION_DAYS), the manifest first.
var coolDown = {
  name: 'events-cool-down'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['${containerName}/${prefix}events/']
    }
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: coolAfterDays
        }
      }
    }
  }
}

var deleteOldVersions = {
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
    // This also rules out the two kinds of SAS that a key signs. A user delegation SAS still works.
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isHnsEnabled: hierarchicalNamespace
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: privateNetworking && empty(allowedIpAddresses) ? 'Disabled' : 'Enabled'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      // Azure's lifecycle management comes from outside the network. Its documentation says that a firewall may block
      // it unless trusted services are let in. Without it, nothing would move to the cool tier, and old versions would stay
      // for ever. The exception also works while public access is off. A trusted service still needs a role to read anything.
      bypass: 'AzureServices'
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
      // An account with real directories has no versions: what is overwritten or replaced is only soft-deleted.
      isVersioningEnabled: !hierarchicalNamespace
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
        rules: concat([coolDown], hierarchicalNamespace ? [] : [deleteOldVersions])
      }
    }
    // A rule about versions is refused while versioning is off.
    dependsOn: [blobs]
  }
}

// On the container only, because the app needs no other. This role cannot delete versions (only Storage Blob Data Owner
// can), so a stolen identity of the app can delete every event and still leaves the old versions to restore. An immutability
// policy would add protection from administrators only, and the app overwrites status blobs and deletes days by design.
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

resource readerReads 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(readerPrincipalId)) {
  scope: account::blobs::container
  name: guid(account::blobs::container.id, readerPrincipalId, roleIds['Storage Blob Data Reader'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Blob Data Reader']
    )
    principalId: readerPrincipalId
  }
}

// Stops `azd down`, the portal and a mistyped command. Blobs can still be written and deleted. While it exists, nobody can
// remove a role assignment or a private endpoint of the account either: delete the lock first. `azd provision --no-state`
// creates it again.
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
