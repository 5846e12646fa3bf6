// Service Bus: the queue and the topics of commands, and the manager's other topics. The subscriptions that handlers read
// are made here, since at zero replicas there is no sidecar that makes them. A host's own topic is made by its sidecar.

param location string
param name string
param principalId string

// Azure Service Bus Data Owner: a sidecar makes topics and subscriptions, and the scaler reads their lengths.
var dataOwner = '090c5cfd-751d-490a-894a-3ce6f1109419'

// Each topic, with the app that reads it through a subscription of its name.
var readers = [
  { topic: 'websocket-commands', app: 'websocket-handlers' }
  { topic: 'websocket-dead-letters', app: 'websocket-handlers' }
  { topic: 'websocket-host', app: 'websocket-host' }
]

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: name
  location: location
  sku: {
    name: 'Standard'
    tier: 'Standard'
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
  }
}

resource commands 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: 'websocket-commands-queue' // a namespace holds a name once, and the topic has the other
  properties: {
    lockDuration: 'PT2M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
  }
}

resource topics 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' = [for reader in readers: {
  parent: namespace
  name: reader.topic
}]

resource events 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' = {
  parent: namespace
  name: 'websocket-events'
}

resource subscriptions 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2026-01-01' = [for (reader, i) in readers: {
  parent: topics[i]
  name: reader.app
  properties: {
    lockDuration: 'PT2M'
    maxDeliveryCount: 10
  }
}]

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: namespace
  name: guid(namespace.id, principalId, dataOwner)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataOwner)
  }
}

output name string = namespace.name
output host string = '${namespace.name}.servicebus.windows.net'
