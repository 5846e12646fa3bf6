// The handlers: they scale with what waits for them, from zero. The scaler looks with the app's identity.

param location string
param environmentId string
param identityId string
param image string
param registry string
param namespaceName string
param settings object

var extra = map(items(settings), setting => { name: setting.key, value: string(setting.value) })

resource app 'Microsoft.App/containerApps@2026-07-01' = {
  name: 'websocket-handlers'
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    configuration: {
      activeRevisionsMode: 'Single'
      registries: empty(registry) ? [] : [
        {
          server: registry
          identity: identityId
        }
      ]
      dapr: {
        enabled: true
        appId: 'websocket-handlers'
        appPort: 6001
        appProtocol: 'grpc'
        appHealth: {
          enabled: true
          probeIntervalSeconds: 5
          probeTimeoutMilliseconds: 500
          threshold: 3
        }
      }
    }
    template: {
      terminationGracePeriodSeconds: 60 // above the drain's deadline, 10 s
      containers: [
        {
          name: 'manager'
          image: image
          args: [
            '--mode'
            'handlers'
          ]
          env: concat([
            { name: 'APP_PORT', value: '6001' }
          ], extra)
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/livez'
                port: 9464
              }
              periodSeconds: 5
              failureThreshold: 24
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 9464
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 9464
              }
              periodSeconds: 5
              timeoutSeconds: 3
              failureThreshold: 3
            }
          ]
        }
      ]
      scale: {
        minReplicas: 0
        maxReplicas: 10
        rules: [
          {
            name: 'queue'
            custom: {
              type: 'azure-servicebus'
              identity: identityId
              metadata: {
                namespace: namespaceName
                queueName: 'websocket-commands-queue'
                messageCount: '20'
              }
            }
          }
          {
            name: 'commands'
            custom: {
              type: 'azure-servicebus'
              identity: identityId
              metadata: {
                namespace: namespaceName
                topicName: 'websocket-commands'
                subscriptionName: 'websocket-handlers'
                messageCount: '20'
              }
            }
          }
          {
            name: 'dead-letters'
            custom: {
              type: 'azure-servicebus'
              identity: identityId
              metadata: {
                namespace: namespaceName
                topicName: 'websocket-dead-letters'
                subscriptionName: 'websocket-handlers'
                messageCount: '20'
              }
            }
          }
        ]
      }
    }
  }
}
