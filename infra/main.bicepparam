// Values come from azd's environment: `azd env set NAME VALUE`. None of them is a secret: the Amplitude keys go
// directly into the vault. The defaults here are those of main.bicep.

using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'amplitude-export')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param alertActionGroupIds = json(readEnvironmentVariable('ALERT_ACTION_GROUP_IDS', '[]'))

// A pipeline sets KEYS_PRINCIPAL_ID to a person or a group, because it does not need to see the keys itself.
param keysPrincipalId = readEnvironmentVariable('KEYS_PRINCIPAL_ID', '')
param keysPrincipalType = readEnvironmentVariable('KEYS_PRINCIPAL_TYPE', '')
param readerPrincipalId = readEnvironmentVariable('READER_PRINCIPAL_ID', '')

param protect = bool(readEnvironmentVariable('PROTECT', 'true'))
param privateNetworking = bool(readEnvironmentVariable('PRIVATE_NETWORKING', 'false'))
param allowedIpAddresses = json(readEnvironmentVariable('ALLOWED_IP_ADDRESSES', '[]'))
param httpAllowedIpAddresses = json(readEnvironmentVariable('HTTP_ALLOWED_IP_ADDRESSES', '[]'))
param httpPrivateEndpoint = bool(readEnvironmentVariable('HTTP_PRIVATE_ENDPOINT', 'false'))
param storageRedundancy = readEnvironmentVariable('STORAGE_REDUNDANCY', 'Standard_ZRS')
param hierarchicalNamespace = bool(readEnvironmentVariable('HIERARCHICAL_NAMESPACE', 'false'))
param maximumInstanceCount = int(readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '4'))
param coolAfterDays = int(readEnvironmentVariable('COOL_AFTER_DAYS', '60'))
param logRetentionDays = int(readEnvironmentVariable('LOG_RETENTION_DAYS', '90'))
param missingDayHour = int(readEnvironmentVariable('MISSING_DAY_HOUR', '12'))

param httpAuth = readEnvironmentVariable('EXPORT_HTTP_AUTH', 'function')
param entraClientId = readEnvironmentVariable('ENTRA_CLIENT_ID', '')
param entraAllowedApplications = json(readEnvironmentVariable(
  'ENTRA_ALLOWED_APPLICATIONS',
  '["04b07795-8ddb-461a-bbee-02f9e1bf7b46"]'
))

param dataRegion = readEnvironmentVariable('AMP_DATA_REGION', 'eu')
param containerName = readEnvironmentVariable('EXPORT_CONTAINER', 'amplitude-events')
param prefix = readEnvironmentVariable('EXPORT_PREFIX', '')
param format = readEnvironmentVariable('EXPORT_FORMAT', 'json')
param schedule = readEnvironmentVariable('EXPORT_SCHEDULE', '0 30 3 * * *')
param lookbackDays = int(readEnvironmentVariable('EXPORT_LOOKBACK_DAYS', '7'))
param recheck = readEnvironmentVariable('EXPORT_RECHECK', 'all')
param startDate = readEnvironmentVariable('EXPORT_START_DATE', '')
param retentionDays = int(readEnvironmentVariable('EXPORT_RETENTION_DAYS', '0'))
param windowHours = int(readEnvironmentVariable('EXPORT_WINDOW_HOURS', '24'))
