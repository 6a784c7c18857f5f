// Values come from azd's environment: `azd env set NAME VALUE`. None of them is a secret; the Amplitude keys go
// straight into the vault.

using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'amplitude-export')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')

// azd gives the object id of whoever runs it. A pipeline sets KEYS_PRINCIPAL_ID to that of a person or a group, for
// the pipeline itself has no business with the keys.
param keysPrincipalId = readEnvironmentVariable('KEYS_PRINCIPAL_ID', readEnvironmentVariable('AZURE_PRINCIPAL_ID', ''))
param keysPrincipalType = readEnvironmentVariable('KEYS_PRINCIPAL_TYPE', 'User')

param protect = bool(readEnvironmentVariable('PROTECT', 'true'))
param privateNetworking = bool(readEnvironmentVariable('PRIVATE_NETWORKING', 'false'))
param allowedIpAddresses = json(readEnvironmentVariable('ALLOWED_IP_ADDRESSES', '[]'))
param storageRedundancy = readEnvironmentVariable('STORAGE_REDUNDANCY', 'Standard_ZRS')
param maximumInstanceCount = int(readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '1'))

param httpAuth = readEnvironmentVariable('EXPORT_HTTP_AUTH', 'function')
param entraClientId = readEnvironmentVariable('ENTRA_CLIENT_ID', '')

param dataRegion = readEnvironmentVariable('AMP_DATA_REGION', 'eu')
param startDate = readEnvironmentVariable('EXPORT_START_DATE', '')
param retentionDays = int(readEnvironmentVariable('EXPORT_RETENTION_DAYS', '0'))
