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

@description('Required. Maximum number of instances at a time.')
param maximumInstanceCount int

@description('Required. Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int

@description('Required. Spreads instances over zones; always-ready instances are then billed.')
param zoneRedundant bool

@description('Required. Resource id of the subnet that the app sends from; empty without private networking.')
param subnetId string

@description('Required. Workspace that receives the log of the host.')
param workspaceId string

@description('Required. Public IPv4 addresses or ranges that may call the HTTP routes; empty for all, unless there is a private endpoint.')
param httpAllowedIpAddresses array

@description('Required. Whether callers use a private endpoint.')
param httpPrivateEndpoint bool

@description('Required. Who may call the HTTP routes: `function` for host keys, `entra` for sign-in.')
@allowed(['entra', 'function'])
param httpAuth string

@description('Required. Client id of the app registration for sign-in; empty with host keys.')
param entraClientId string

@description('Required. Client ids of applications that may get a token for a caller, besides the registration itself.')
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

var entra = httpAuth == 'entra'
var restricted = httpPrivateEndpoint || !empty(httpAllowedIpAddresses)

// Tells App Service to sign in as the registration with a token of this identity, instead of a client secret.
var signInSettings = entra ? { OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId } : {}

var entraProvider = {
  enabled: true
  registration: {
    clientId: entraClientId
    clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
    openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0' // people of this tenant only
  }
  validation: {
    allowedAudiences: [entraClientId, 'api://${entraClientId}']
    // Which applications may fetch the token, not who may use it: the registration assigns people and their app roles,
    // and the app asks for the role `Exports.Write` before it changes anything.
    defaultAuthorizationPolicy: {
      allowedApplications: union([entraClientId], entraAllowedApplications)
    }
  }
}

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
  tags: union(tags, { 'azd-service-name': 'export' }) // azd deploys to the app with this tag
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
    // The routes ask for a host key or a sign-in. Without public access, deployments could not come in either. The restrictions
    // below close only the routes.
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      ftpsState: 'Disabled'
      http20Enabled: true
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      remoteDebuggingEnabled: false
      ipSecurityRestrictionsDefaultAction: restricted ? 'Deny' : 'Allow'
      ipSecurityRestrictions: [
        for (address, i) in httpAllowedIpAddresses: {
          name: 'allowed-${i}'
          action: 'Allow'
          priority: 100 + i
          ipAddress: contains(address, '/') ? address : '${address}/32' // a single address is refused without its mask
        }
      ]
      // `azd deploy` comes through the SCM site, which takes a token of Entra only (see the policies below).
      scmIpSecurityRestrictionsUseMain: false
    }
    // No `siteUpdateStrategy`: rolling updates are a preview, and this API version does not know them. A deployment ends
    // running exports; their messages come back.
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
  // WEBSITE_RUN_FROM_PACKAGE and those of a build) belong in `functionAppConfig` or nowhere.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(platformSettings, settings, signInSettings)
  }
}

// Deployed in both modes. A deployment never deletes what a template no longer names, so a sign-in that is merely left
// out would stay on after a return to host keys.
resource signIn 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: entra
    }
    globalValidation: {
      requireAuthentication: entra
      // A browser is sent to sign in, for the coverage page; a program sends a token with its request.
      unauthenticatedClientAction: entra ? 'RedirectToLoginPage' : 'AllowAnonymous'
      redirectToProvider: entra ? 'azureactivedirectory' : null
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: entra ? { azureActiveDirectory: entraProvider } : {}
    login: {
      tokenStore: {
        enabled: false // the app needs to know who calls, not to act in their name
      }
    }
  }
  dependsOn: [app::appSettings]
}

// A second copy of the host's log, which is there even if telemetry cannot be sent. No other category, because one of them
// records addresses with their query, which may contain a caller's key.
resource hostLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: app
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

@description('Name of the function app.')
output name string = app.name

@description('URL of the function app.')
output url string = 'https://${app.properties.defaultHostName}'
