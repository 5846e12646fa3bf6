// The hosts: resident, a fixed number of them. Each is known by its replica's name, which the platform gives it.

param location string
param environmentId string
param identityId string
param image string
param registry string
param replicas int
param settings object

var extra = map(items(settings), setting => { name: setting.key, value: string(setting.value) })

resource app 'Microsoft.App/containerApps@2026-07-01' = {
  name: 'websocket-host'
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
        appId: 'websocket-host'
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
            'host'
          ]
          env: concat([
            { name: 'APP_PORT', value: '6001' }
          ], extra)
          resources: {
            cpu: json('1.0')
            memory: '2Gi'
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
        minReplicas: replicas
        maxReplicas: replicas
      }
    }
  }
}
