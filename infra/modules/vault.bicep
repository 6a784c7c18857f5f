// The vault for the two Amplitude keys. The template makes the vault, never the secrets: their values would pass
// through parameters and the deployment's history.

@description('Required. Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Purge protection: nobody can purge the deleted vault. It cannot be turned off again.')
param protect bool

@description('Required. Turns access from public networks off; a private endpoint takes its place.')
param privateNetworking bool

@description('Required. Public addresses that may still reach the vault while private networking is on.')
param allowedIpAddresses array

@description('Required. Name of the identity of the app. Role assignments are named after it, so that what-if can predict them.')
param appIdentityName string

@description('Required. Object id of the identity of the app, which reads the secrets.')
param appPrincipalId string

@description('Required. Object id of the person, group or service principal that may set the secrets. Empty adds nobody.')
param keysPrincipalId string

@description('Required. Type of `keysPrincipalId`; if empty, Azure looks it up.')
@allowed(['', 'Group', 'ServicePrincipal', 'User'])
param keysPrincipalType string

@description('Required. Workspace that receives the audit log.')
param workspaceId string

// Azure's built-in roles by name; their ids are the same in every tenant.
var roleIds = loadJsonContent('../roles.json')

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    // This cannot be changed later, so it is the maximum from the start.
    softDeleteRetentionInDays: 90
    // Once it was on, Azure refuses `false`: leave it out instead.
    enablePurgeProtection: protect ? true : null
    publicNetworkAccess: privateNetworking && empty(allowedIpAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      // Azure resolves the app's Key Vault references through the app's own network, so nothing has to bypass the firewall.
      bypass: 'None'
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
      ipRules: [
        for address in allowedIpAddresses: {
          value: address
        }
      ]
    }
  }
}

resource appReads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, appIdentityName, roleIds['Key Vault Secrets User'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Key Vault Secrets User']
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource keysAreSet 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keysPrincipalId)) {
  scope: vault
  name: guid(vault.id, keysPrincipalId, roleIds['Key Vault Secrets Officer'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Key Vault Secrets Officer']
    )
    principalId: keysPrincipalId
    // With a wrong type the deployment fails (UnmatchedPrincipalType), and a template cannot find out the type of its deployer.
    // Without a type, Azure looks the principal up. This is unreliable only for a principal that was just created.
    principalType: empty(keysPrincipalType) ? null : keysPrincipalType
  }
}

resource auditLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

@description('Name of the vault.')
output name string = vault.name

@description('Resource id of the vault.')
output id string = vault.id

@description('URL of the vault, with a slash at the end.')
output url string = vault.properties.vaultUri
