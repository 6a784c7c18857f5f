// A page in the portal: runs, their duration, their volume, and failures.

@description('Required. Title of the workbook.')
param title string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

@description('Required. Workspace with the log lines.')
param workspaceId string

var parts = [
  { title: 'Runs', query: loadTextContent('../queries/runs.kql'), chart: 'table' }
  { title: 'Events and bytes a day', query: loadTextContent('../queries/volume.kql'), chart: 'timechart' }
  { title: 'Duration of a run in seconds', query: loadTextContent('../queries/duration.kql'), chart: 'timechart' }
  { title: 'Failures and retries', query: loadTextContent('../queries/failures.kql'), chart: 'table' }
]

var timeRange = {
  type: 4
  name: 'time'
  label: 'Time'
  isRequired: true
  value: { durationMs: 2592000000 } // 30 days
  typeSettings: {
    selectableValues: [
      { durationMs: 604800000 }
      { durationMs: 2592000000 }
      { durationMs: 7776000000 }
    ]
    allowCustom: true
  }
}

var timeItem = {
  type: 9
  name: 'parameters'
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [timeRange]
  }
}

var queryItems = [
  for part in parts: {
    type: 3
    name: part.title
    content: {
      version: 'KqlItem/1.0'
      title: part.title
      query: part.query
      queryType: 0
      resourceType: 'microsoft.operationalinsights/workspaces'
      visualization: part.chart
      timeContextFromParameter: 'time'
      size: 0
      showExportToExcel: true
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'amplitude-export')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: title
    sourceId: workspaceId
    version: 'Notebook/1.0'
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat([timeItem], queryItems)
      fallbackResourceIds: [workspaceId]
    })
  }
}

@description('Resource id of the workbook.')
output id string = workbook.id
