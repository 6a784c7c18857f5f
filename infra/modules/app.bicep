// The function app on a Flex Consumption plan.

@description('Required. Name of the function app.')
param name string

@description('Required. Name of the plan.')
param planName string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Resource id of the identity of the app.')
param identityId string

@description('Required. Client id of the identity of the app.')
param identityClientId string

@description('Required. Name of the storage account of the Functions host.')
param hostStorageName string

@description('Required. URL of the container for deployed packages.')
param deploymentContainerUrl string

@description('Required. Name of the Application Insights resource.')
param applicationInsightsName string

@description('Required. The settings that the app itself reads, by name.')
param settings object

@description('Required. Most instances at a time.')
param maximumInstanceCount int

@description('Required. Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int

@description('Required. Spreads instances over zones; always-ready instances are then billed.')
param zoneRedundant bool

@description('Required. Resource id of the subnet that the app sends from; empty without private networking.')
param subnetId string

@description('Required. Who may call the HTTP routes: `function` for host keys, `entra` for sign-in.')
@allowed(['entra', 'function'])
param httpAuth string

@description('Required. Client id of the app registration for sign-in; empty with host keys.')
param entraClientId string

@description('Required. Client ids of other applications whose tokens are let in.')
param entraAllowedApplications array

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

var platformSettings = {
  AzureWebJobsStorage__accountName: hostStorageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
}

// Says to App Service: sign in as the registration with a token of this identity, in place of a client secret.
var signInSettings = httpAuth == 'entra' ? { OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId } : {}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true // Linux
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'export' }) // azd finds by it what to deploy to
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled' // the HTTP routes; host keys or sign-in stand before them
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      ftpsState: 'Disabled'
      http20Enabled: true
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      remoteDebuggingEnabled: false
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
  }

  resource noScmPassword 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }

  resource noFtpPassword 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  // Settings that Flex Consumption refuses (FUNCTIONS_WORKER_RUNTIME, FUNCTIONS_EXTENSION_VERSION,
  // WEBSITE_RUN_FROM_PACKAGE and those of a build) have their place in `functionAppConfig` or none.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(platformSettings, settings, signInSettings)
  }
}

resource signIn 'Microsoft.Web/sites/config@2025-03-01' = if (httpAuth == 'entra') {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      // A browser is sent to sign in, for the coverage page; a program sends a token with its request.
      unauthenticatedClientAction: 'RedirectToLoginPage'
      redirectToProvider: 'azureactivedirectory'
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: entraClientId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [entraClientId, 'api://${entraClientId}']
          defaultAuthorizationPolicy: {
            allowedApplications: union([entraClientId], entraAllowedApplications)
          }
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false // the app needs to know who calls, not to act in their name
      }
    }
  }
  dependsOn: [app::appSettings]
}

@description('Name of the function app.')
output name string = app.name

@description('URL of the function app.')
output url string = 'https://${app.properties.defaultHostName}'
