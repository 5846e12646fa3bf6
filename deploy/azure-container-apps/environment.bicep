// The environment with its Dapr components: those of components/azure, in the form that Container Apps has for them.

param location string
param name string
param clientId string
param namespaceHost string
param stateUrl string
param vaultName string

var handlers = 'websocket-handlers'
var host = 'websocket-host'

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: name
  location: location
  properties: {
    retentionInDays: 30
    sku: {
      name: 'PerGB2018'
    }
  }
}

resource environment 'Microsoft.App/managedEnvironments@2026-07-01' = {
  name: name
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'azure-monitor' // and not log-analytics, which wants a key
    }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource pubsub 'Microsoft.App/managedEnvironments/daprComponents@2026-07-01' = {
  parent: environment
  name: 'pubsub'
  properties: {
    componentType: 'pubsub.azure.servicebus.topics'
    version: 'v1'
    initTimeout: '60s'
    metadata: [
      { name: 'namespaceName', value: namespaceHost }
      { name: 'azureClientId', value: clientId }
      { name: 'handlerTimeoutInSec', value: '120' }
      { name: 'maxConcurrentHandlers', value: '10' }
      { name: 'maxDeliveryCount', value: '10' }
    ]
    scopes: [] // who reads what the manager publishes needs it
  }
}

resource statestore 'Microsoft.App/managedEnvironments/daprComponents@2026-07-01' = {
  parent: environment
  name: 'statestore'
  properties: {
    componentType: 'state.azure.cosmosdb'
    version: 'v1'
    initTimeout: '60s'
    metadata: [
      { name: 'url', value: stateUrl }
      { name: 'azureClientId', value: clientId }
      { name: 'database', value: 'websocket-manager' }
      { name: 'collection', value: 'records' }
      { name: 'keyPrefix', value: 'name' }
    ]
    scopes: [
      handlers
      host
    ]
  }
}

resource secretstore 'Microsoft.App/managedEnvironments/daprComponents@2026-07-01' = {
  parent: environment
  name: 'secretstore'
  properties: {
    componentType: 'secretstores.azure.keyvault'
    version: 'v1'
    initTimeout: '60s'
    metadata: [
      { name: 'vaultName', value: vaultName }
      { name: 'azureClientId', value: clientId }
    ]
    scopes: [
      handlers
      host
    ]
  }
}

resource commands 'Microsoft.App/managedEnvironments/daprComponents@2026-07-01' = {
  parent: environment
  name: 'websocket-commands'
  properties: {
    componentType: 'bindings.azure.servicebusqueues'
    version: 'v1'
    initTimeout: '60s'
    metadata: [
      { name: 'namespaceName', value: namespaceHost }
      { name: 'azureClientId', value: clientId }
      { name: 'queueName', value: 'websocket-commands-queue' }
      { name: 'maxActiveMessages', value: '10' }
      { name: 'maxConcurrentHandlers', value: '10' }
      { name: 'maxDeliveryCount', value: '10' }
      { name: 'direction', value: 'input' }
    ]
    scopes: [
      handlers
    ]
  }
}

resource sweep 'Microsoft.App/managedEnvironments/daprComponents@2026-07-01' = {
  parent: environment
  name: 'health-sweep'
  properties: {
    componentType: 'bindings.cron'
    version: 'v1'
    metadata: [
      { name: 'schedule', value: '@every 10s' }
      { name: 'direction', value: 'input' }
    ]
    scopes: [
      host
    ]
  }
}

// What components/azure/resiliency.yaml says: at most 110 s in all, below the 120 s for which a message is locked.
resource pubsubRedelivery 'Microsoft.App/managedEnvironments/daprComponents/resiliencyPolicies@2026-07-01' = {
  parent: pubsub
  name: 'redelivery'
  properties: {
    inboundPolicy: {
      timeoutPolicy: {
        responseTimeoutInSeconds: 5
      }
      httpRetryPolicy: {
        maxRetries: 15
        retryBackOff: {
          initialDelayInMilliseconds: 2000
          maxIntervalInMilliseconds: 2000
        }
      }
    }
  }
}

resource commandsRedelivery 'Microsoft.App/managedEnvironments/daprComponents/resiliencyPolicies@2026-07-01' = {
  parent: commands
  name: 'redelivery'
  properties: {
    inboundPolicy: {
      timeoutPolicy: {
        responseTimeoutInSeconds: 5
      }
      httpRetryPolicy: {
        maxRetries: 15
        retryBackOff: {
          initialDelayInMilliseconds: 2000
          maxIntervalInMilliseconds: 2000
        }
      }
    }
  }
}

output id string = environment.id
