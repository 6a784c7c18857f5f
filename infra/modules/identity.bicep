// The one identity of the app. It is user-assigned, so that its rights exist before the app first starts.
// Each right is in the module of the resource that it is for.

@description('Required. Name of the identity.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id, for the resources that use the identity.')
output id string = identity.id

@description('Client id, for programs that request tokens.')
output clientId string = identity.properties.clientId

@description('Object id, for role assignments.')
output principalId string = identity.properties.principalId
