// The workspace of the log lines, and the Application Insights resource that writes into it.

@description('Required. Name of the Log Analytics workspace.')
param workspaceName string

@description('Required. Name of the Application Insights resource.')
param applicationInsightsName string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. For how many days log lines are kept. Storage logs cost extra after 31 days, lines of the app (App* tables) after 90.')
param retentionDays int

@description('Required. Name of the identity of the app. Its role assignment is named after it.')
param appIdentityName string

@description('Required. Object id of the identity of the app, which sends telemetry.')
param appPrincipalId string

// Azure's built-in roles by name; their ids are the same in every tenant.
var roleIds = loadJsonContent('../roles.json')

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
    }
    // No daily cap: it would cut off the very lines that the alerts wait for.
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
    // Every line counts: a dropped `run_complete` would look like a missing day.
    SamplingPercentage: 100
  }
}

resource sendsTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: applicationInsights
  name: guid(applicationInsights.id, appIdentityName, roleIds['Monitoring Metrics Publisher'])
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Monitoring Metrics Publisher']
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id
