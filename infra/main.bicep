// Everything that the exporter needs, in a new resource group in Germany West Central.

targetScope = 'subscription'

@description('Required. Name of the environment; resources are named after it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Optional. Region of everything that can hold data. It stays in Germany West Central.')
@allowed(['germanywestcentral'])
param location string = 'germanywestcentral'

@description('Required. Email address that alerts are sent to. Without it the compiler says BCP333: set ALERT_EMAIL.')
@minLength(3)
param alertEmail string

@description('Optional. Resource ids of existing action groups that also get the alerts, for instance of a Teams channel or an on-call service. The template does not need their secrets.')
param alertActionGroupIds array = []

@description('Optional. Object id of the user, group or service principal that may set the Amplitude keys in the vault. Empty means whoever deploys; `none` adds nobody.')
param keysPrincipalId string = ''

@description('Optional. Type of `keysPrincipalId`; if empty, Azure looks it up. Needed only if your right to assign roles has a condition on the type.')
@allowed(['', 'Group', 'ServicePrincipal', 'User'])
param keysPrincipalType string = ''

@description('Optional. Object id of a person, group or application that may read the events and peek into the poison queue. Empty adds nobody.')
param readerPrincipalId string = ''

@description('Optional. Purge protection for the vault and a delete lock on the storage account with the events. Turn it off only to try the project: purge protection cannot be undone.')
param protect bool = true

@description('Optional. Allows access to storage and vault only through private endpoints, from a virtual network that the template creates.')
param privateNetworking bool = false

@description('Optional. Public IPv4 addresses or ranges that may still reach the vault and the events while private networking is on, for instance to set the keys.')
param allowedIpAddresses array = []

@description('Optional. Public IPv4 addresses or ranges that may call the HTTP routes; all others are refused. Empty means no restriction.')
param httpAllowedIpAddresses array = []

@description('Optional. Allows calls of the HTTP routes only through a private endpoint and from `httpAllowedIpAddresses`. Needs private networking. Deployments are still possible from anywhere, with a token.')
param httpPrivateEndpoint bool = false

@description('Optional. Redundancy of storage: in three zones of the region, or in one data centre. Data never leaves the region.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('Optional. Gives the storage account with the events real directories (ADLS Gen2, as Fabric and Databricks prefer). Such an account has no versions: blobs that a rerun replaced can only be undeleted, for `deletedRetentionDays`. You cannot change this after the account is created.')
param hierarchicalNamespace bool = false

@description('Optional. Spreads the app over zones. Azure then bills always-ready instances.')
param zoneRedundant bool = false

// An instance exports one day at a time (`batchSize` in host.json), and an export sends one request at a time. So four
// instances stay below the five parallel requests that Amplitude's documentation allows a project. Azure's API description
// (azure-rest-api-specs #45083, 2026) counts the instances of each function group separately, so a backfill takes none from
// HTTP, `nightly` and `give_up`. An older answer (azure-functions-host #10523, 2024) counts all instances of the app,
// which has four groups.
// Several days may be exported at once. With one lock for all, waiting instances would be billed, and messages that were put
// back would come closer to `maxDequeueCount` each time, so days would be given up because others were exported.
// Values below 40 were once a preview in some regions. If yours refuses four, the deployment guide says how to live with 40.
@description('Optional. Maximum number of instances at a time. Each exports one day.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 4

@description('Optional. Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Optional. Event blobs move to the cool tier this many days after their last change.')
@minValue(1)
param coolAfterDays int = 60

@description('Optional. For how many days a deleted blob or container can be restored.')
@minValue(7)
@maxValue(365)
param deletedRetentionDays int = 14

@description('Optional. An old version of a blob is deleted this many days after it was written.')
@minValue(1)
param oldVersionDays int = 30

@description('Optional. For how many days log lines are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Optional. Hour (UTC) by which yesterday must have landed. If it has not, the alert fires.')
@minValue(4)
@maxValue(23)
param missingDayHour int = 12

@description('Optional. Percentage of the usual volume (the median of the last seven landed days). The alert fires for a day with fewer events.')
@minValue(1)
@maxValue(99)
param lowVolumePercent int = 50

@description('Optional. How many blobs one caller may delete within an hour before the alert fires. A rerun that replaces a day deletes about one blob for each file of the day.')
@minValue(1)
param massDeletionCount int = 1000

@description('Optional. Who may call the HTTP routes: `function` for host keys, `entra` for sign-in with Microsoft Entra.')
@allowed(['entra', 'function'])
param httpAuth string = 'function'

@description('Optional. Client id of the app registration for sign-in. Required with `entra`.')
param entraClientId string = ''

@description('Optional. With `entra`: client ids of the applications that may get a token for a caller. The default is the Azure CLI, for scripts. Add the client id of a scheduler.')
param entraAllowedApplications array = ['04b07795-8ddb-461a-bbee-02f9e1bf7b46']

@description('Optional. Data region of the Amplitude project.')
@allowed(['eu', 'us'])
param dataRegion string = 'eu'

@description('Optional. An export endpoint to use instead of Amplitude\'s. Empty means Amplitude\'s endpoint of the region.')
param exportUrl string = ''

@description('Optional. Container for the landed days.')
@minLength(3)
@maxLength(63)
param containerName string = 'amplitude-events'

@description('Optional. Text that the app puts before every blob name.')
@maxLength(512)
param prefix string = ''

@description('Optional. Event blobs as JSON Lines, or as Amplitude\'s own gzip (about a tenth of the size).')
@allowed(['json', 'json.gz'])
param format string = 'json'

@description('Optional. When the newest day is exported, as six-field NCRONTAB in UTC.')
param schedule string = '0 30 3 * * *'

@description('Optional. Name of the queue of exports.')
@minLength(3)
@maxLength(56)
param queueName string = 'amplitude-exports'

@description('Optional. How many days before yesterday the timer checks. 0: it exports only yesterday, and no day a second time.')
@minValue(0)
@maxValue(366)
param lookbackDays int = 7

@description('Optional. Which landed days of the look-back are exported once more: all, only those with an hour without events, or none.')
@allowed(['all', 'empty-hours', 'off'])
param recheck string = 'all'

@description('Optional. First day that you want, like 2025-11-04. Empty means no limit.')
param startDate string = ''

@description('Optional. For how many days exported events are kept; 0 keeps them for ever.')
@minValue(0)
@maxValue(36500)
param retentionDays int = 0

@description('Optional. Hours in one request to Amplitude.')
@minValue(1)
@maxValue(24)
param windowHours int = 24

@description('Optional. Attempts for one window within a try.')
@minValue(1)
@maxValue(100)
param maxAttempts int = 5

@description('Optional. Delay before the second attempt in seconds; decimals are allowed.')
param retrySeconds string = '1'

@description('Optional. How many seconds to wait for data from Amplitude.')
@minValue(1)
@maxValue(3600)
param readTimeoutSeconds int = 600

var token = uniqueString(subscription().id, environmentName, location)
var appName = 'func-amplitude-${token}'
// What-if can predict only resources whose names are known before the deployment. So names are made here and passed to the
// modules, and no resource is named after the output of another module.
var identityName = 'id-amplitude-${token}'
var applicationInsightsName = 'appi-amplitude-${token}'
var hostStorageName = 'sthost${token}'
var dataStorageName = 'stdata${token}'
var vaultName = 'kv-amp-${token}'

// For a guest, azd's AZURE_PRINCIPAL_ID would be that of the home tenant. `deployer()` is right in every case.
var keysHolderId = keysPrincipalId == 'none' ? '' : empty(keysPrincipalId) ? deployer().objectId : keysPrincipalId
var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: identityName
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-amplitude-${token}'
    applicationInsightsName: applicationInsightsName
    location: location
    tags: tags
    retentionDays: logRetentionDays
    appIdentityName: identityName
    appPrincipalId: identity.outputs.principalId
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  name: 'host-storage'
  scope: group
  params: {
    name: hostStorageName
    location: location
    tags: tags
    redundancy: storageRedundancy
    queueName: queueName
    appIdentityName: identityName
    appPrincipalId: identity.outputs.principalId
    readerPrincipalId: readerPrincipalId
    privateNetworking: privateNetworking
    workspaceId: monitoring.outputs.workspaceId
  }
}

module dataStorage 'modules/data-storage.bicep' = {
  name: 'data-storage'
  scope: group
  params: {
    name: dataStorageName
    location: location
    tags: tags
    redundancy: storageRedundancy
    containerName: containerName
    prefix: prefix
    appIdentityName: identityName
    appPrincipalId: identity.outputs.principalId
    readerPrincipalId: readerPrincipalId
    protect: protect
    hierarchicalNamespace: hierarchicalNamespace
    privateNetworking: privateNetworking
    allowedIpAddresses: allowedIpAddresses
    coolAfterDays: coolAfterDays
    deletedRetentionDays: deletedRetentionDays
    oldVersionDays: oldVersionDays
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: vaultName
    location: location
    tags: tags
    protect: protect
    privateNetworking: privateNetworking
    allowedIpAddresses: allowedIpAddresses
    appIdentityName: identityName
    appPrincipalId: identity.outputs.principalId
    keysPrincipalId: keysHolderId
    keysPrincipalType: keysPrincipalType
    workspaceId: monitoring.outputs.workspaceId
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-amplitude-${token}'
    location: location
    tags: tags
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (privateNetworking) {
  name: 'private-endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    networkId: network.?outputs.id ?? ''
    subnetId: network.?outputs.endpointSubnetId ?? ''
    endpoints: concat(
      [
        { name: 'data-blob', type: 'Microsoft.Storage/storageAccounts', resource: dataStorageName, service: 'blob' }
        { name: 'host-blob', type: 'Microsoft.Storage/storageAccounts', resource: hostStorageName, service: 'blob' }
        { name: 'host-queue', type: 'Microsoft.Storage/storageAccounts', resource: hostStorageName, service: 'queue' }
        { name: 'host-table', type: 'Microsoft.Storage/storageAccounts', resource: hostStorageName, service: 'table' }
        { name: 'vault', type: 'Microsoft.KeyVault/vaults', resource: vaultName, service: 'vault' }
      ],
      hierarchicalNamespace
        ? [{ name: 'data-dfs', type: 'Microsoft.Storage/storageAccounts', resource: dataStorageName, service: 'dfs' }]
        : []
    )
  }
  dependsOn: [hostStorage, dataStorage, vault]
}

module httpEndpoint 'modules/private-endpoints.bicep' = if (privateNetworking && httpPrivateEndpoint) {
  name: 'http-endpoint'
  scope: group
  params: {
    location: location
    tags: tags
    networkId: network.?outputs.id ?? ''
    subnetId: network.?outputs.endpointSubnetId ?? ''
    endpoints: [{ name: 'http', type: 'Microsoft.Web/sites', resource: appName, service: 'sites' }]
  }
  dependsOn: [app]
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: appName
    planName: 'plan-amplitude-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostStorageName: hostStorage.outputs.name
    deploymentContainerUrl: hostStorage.outputs.deploymentContainerUrl
    applicationInsightsName: applicationInsightsName
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
    zoneRedundant: zoneRedundant
    subnetId: network.?outputs.appSubnetId ?? ''
    workspaceId: monitoring.outputs.workspaceId
    httpAllowedIpAddresses: httpAllowedIpAddresses
    httpPrivateEndpoint: privateNetworking && httpPrivateEndpoint
    httpAuth: httpAuth
    entraClientId: entraClientId
    entraAllowedApplications: entraAllowedApplications
    settings: {
      // References, not values. Until the secrets exist, the app gets this text and says which one is missing. The app could
      // also read the vault itself. That would need one more library and one more request in every cold start. A refresh is
      // enough, because the value changes only when a key is rotated (docs/deploy.md).
      AMP_API_KEY: '@Microsoft.KeyVault(SecretUri=${vault.outputs.url}secrets/amplitude-api-key)'
      AMP_SECRET_KEY: '@Microsoft.KeyVault(SecretUri=${vault.outputs.url}secrets/amplitude-secret-key)'
      AMP_DATA_REGION: dataRegion
      AMP_EXPORT_URL: exportUrl
      EXPORT_STORAGE__blobServiceUri: dataStorage.outputs.blobServiceUrl
      EXPORT_STORAGE__clientId: identity.outputs.clientId
      EXPORT_CONTAINER: containerName
      EXPORT_PREFIX: prefix
      EXPORT_FORMAT: format
      EXPORT_SCHEDULE: schedule
      EXPORT_QUEUE: queueName
      EXPORT_LOOKBACK_DAYS: string(lookbackDays)
      EXPORT_RECHECK: recheck
      EXPORT_START_DATE: startDate
      EXPORT_RETENTION_DAYS: string(retentionDays)
      EXPORT_HTTP_AUTH: httpAuth
      EXPORT_WINDOW_HOURS: string(windowHours)
      EXPORT_MAX_ATTEMPTS: string(maxAttempts)
      EXPORT_RETRY_SECONDS: retrySeconds
      EXPORT_READ_TIMEOUT_SECONDS: string(readTimeoutSeconds)
    }
  }
  // With public access off, the app must find the private endpoints when it first starts.
  dependsOn: [privateEndpoints]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    name: appName
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    applicationInsightsName: applicationInsightsName
    email: alertEmail
    actionGroupIds: alertActionGroupIds
    missingDayHour: missingDayHour
    lowVolumePercent: lowVolumePercent
    massDeletionCount: massDeletionCount
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  scope: group
  params: {
    title: 'Amplitude export (${environmentName})'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

@description('Region of the deployment.')
output AZURE_LOCATION string = location

@description('Resource group of all resources.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the function app.')
output FUNCTION_APP_NAME string = app.outputs.name

@description('URL of the function app.')
output FUNCTION_APP_URL string = app.outputs.url

@description('Name of the vault for the Amplitude keys.')
output KEY_VAULT_NAME string = vault.outputs.name

@description('Name of the storage account for the landed days.')
output DATA_STORAGE_ACCOUNT string = dataStorage.outputs.name

@description('Container for the landed days.')
output EVENTS_CONTAINER string = containerName
