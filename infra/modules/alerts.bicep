// The alerts and their receivers. The queries are separate files, so that you and the tests can run them.

@description('Required. Start of the names of the alert rules.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Workspace with the log lines.')
param workspaceId string

@description('Required. Address that alerts are sent to.')
param email string

@description('Required. Resource ids of existing action groups that also get the alerts.')
param actionGroupIds array

@description('Required. Name of the Application Insights resource.')
param applicationInsightsName string

@description('Required. Hour (UTC) by which yesterday must have landed.')
param missingDayHour int

@description('Required. Percentage of the median volume. The alert fires for a day with fewer events.')
param lowVolumePercent int

@description('Required. How many blobs one caller may delete within an hour before the alert fires.')
param massDeletionCount int

var rules = [
  {
    name: 'day-missing'
    displayName: 'Amplitude export: a day has not landed'
    description: 'No export of the day that is due has finished. Runbook: docs/operations.md.'
    severity: 1
    // Each file sets its figures at the top, so that it runs as it is. The parameters replace them here.
    query: replace(
      loadTextContent('../queries/day-missing.kql'),
      'let due_hour = 12;',
      'let due_hour = ${missingDayHour};'
    )
    frequency: 'PT1H'
    window: 'P1D'
    // A day stays due until `missingDayHour` of the next day, up to 45 hours after its export ended. Two days are the most
    // that a log alert reads, whatever its query says.
    timeRange: 'P2D'
    dimensions: ['day']
  }
  {
    name: 'day-given-up'
    displayName: 'Amplitude export: a run was given up'
    description: 'An error that no retry fixes: a day given up, an unreadable message, wrong settings, a failed night. Someone has to act. Runbook: docs/operations.md.'
    severity: 1
    query: loadTextContent('../queries/day-given-up.kql')
    frequency: 'PT15M'
    window: 'PT1H'
    timeRange: null
    dimensions: ['day', 'error_type']
  }
  {
    name: 'volume-low'
    displayName: 'Amplitude export: far fewer events than usual'
    description: 'The day landed, with far fewer events than the days before it. Runbook: docs/operations.md.'
    severity: 2
    query: replace(
      loadTextContent('../queries/volume-low.kql'),
      'let least_percent = 50;',
      'let least_percent = ${lowVolumePercent};'
    )
    frequency: 'PT1H'
    window: 'P1D'
    timeRange: null
    dimensions: ['day']
  }
  {
    name: 'poison-queue'
    displayName: 'Amplitude export: a message in the poison queue'
    description: 'The Functions host has moved a message into the poison queue. Runbook: docs/operations.md.'
    severity: 1
    query: loadTextContent('../queries/poison-queue.kql')
    frequency: 'PT15M'
    window: 'PT1H'
    timeRange: null
    dimensions: []
  }
  {
    name: 'mass-deletion'
    displayName: 'Amplitude export: many blobs deleted'
    description: 'Someone deleted a container, or far more blobs than retention and reruns do. Runbook: docs/operations.md.'
    severity: 1
    query: replace(
      loadTextContent('../queries/mass-deletion.kql'),
      'let most = 1000;',
      'let most = ${massDeletionCount};'
    )
    frequency: 'PT15M'
    window: 'PT1H'
    timeRange: null
    dimensions: ['who']
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: location // with `global`, Azure would also store the address and handle alerts in other regions
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'amplitude'
    emailReceivers: [
      {
        name: 'people'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: '${name}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.displayName
      description: rule.description
      enabled: true
      severity: rule.severity
      scopes: [workspaceId]
      evaluationFrequency: rule.frequency
      windowSize: rule.window
      overrideQueryTimeRange: rule.timeRange // null: the window only
      autoMitigate: true
      // In an empty subscription, a table may not exist before its first row.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            // Every query returns a row for each thing to report, and none if all is well.
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [
              for dimension in rule.dimensions: {
                name: dimension
                operator: 'Include'
                values: ['*']
              }
            ]
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: union([people.id], actionGroupIds)
      }
    }
  }
]

// Application Insights creates this detector by itself, with a global action group that emails everyone with a monitoring role.
// This resource has the same name, so it turns that detector off: the rules above report what matters, through the regional
// group. Detectors exist in the location `global` only.
resource failureAnomalies 'Microsoft.AlertsManagement/smartDetectorAlertRules@2021-04-01' = {
  name: 'Failure Anomalies - ${applicationInsightsName}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Disabled: the log alerts of this resource group take its place.'
    state: 'Disabled'
    severity: 'Sev3'
    frequency: 'PT1M'
    detector: {
      id: 'FailureAnomaliesDetector'
    }
    scope: [resourceId('Microsoft.Insights/components', applicationInsightsName)]
    actionGroups: {
      groupIds: [people.id]
    }
  }
}
