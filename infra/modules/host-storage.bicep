// The storage account of the Functions host: deployed packages, the host's own state, and the queue of exports.
// No event is ever stored here.

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

@description('Required. Name of the queue of exports.')
param queueName string

@description('Required. Name of the identity of the app. Role assignments are named after it, so that what-if can predict them.')
param appIdentityName string

@description('Required. Object id of the identity of the app.')
param appPrincipalId string

@description('Required. Object id of a person, group or application that may peek into the poison queue. Empty adds nobody.')
param readerPrincipalId string

@description('Required. Turns access from public networks off; private endpoints take its place.')
param privateNetworking bool

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
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      bypass: 'None' // no lifecycle rule and no other trusted service works on this account
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      // The host rebuilds its own state. Soft delete is for a deployed package that was deleted.
      deleteRetentionPolicy: {
        enabled: true
        days: 7
      }
      containerDeleteRetentionPolicy: {
        enabled: true
        days: 7
      }
    }

    resource deployments 'containers' = {
      name: 'deployments'
    }
  }

  resource queues 'queueServices' = {
    name: 'default'

    resource exports 'queues' = {
      name: queueName
    }

    // The host would create it with the first message that it gives up. But `give_up` reads it from the start.
    resource poison 'queues' = {
      name: '${queueName}-poison'
    }
  }
}

// The host needs all three on the whole account, because it makes containers, queues and tables itself.
var hostRoles = [
  'Storage Blob Data Owner'
  'Storage Queue Data Contributor'
  'Storage Table Data Contributor'
]

resource hostRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in hostRoles: {
    scope: account
    name: guid(account.id, appIdentityName, roleIds[role])
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds[role])
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
    }
  }
]

resource readerPeeks 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(readerPrincipalId)) {
  scope: account::queues::poison
  name: guid(account::queues::poison.id, readerPrincipalId, roleIds['Storage Queue Data Reader'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Queue Data Reader']
    )
    principalId: readerPrincipalId
  }
}

// Only writes. Reads are the host's polling: their log would be expensive and of no use. A message that is put into the poison
// queue is a write, and an alert reads this log.
resource queueLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::queues
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
    ]
  }
}

// Who replaced or deleted a deployed package. The host's own locks are writes too, about 10 MB of log lines a day.
resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
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

@description('URL of the container for deployed packages.')
output deploymentContainerUrl string = '${account.properties.primaryEndpoints.blob}${account::blobs::deployments.name}'
