// The manager on Azure Container Apps: handlers that scale to zero, hosts that stay, and all that they need. There is no
// key and no password: both apps are one user-assigned identity, which has the roles that it needs and no other.

targetScope = 'resourceGroup'

@description('Region of all resources.')
param location string = resourceGroup().location

@description('Begin of the names; those of the namespace, the account and the vault must be free in all of Azure.')
@minLength(3)
@maxLength(11)
param prefix string = 'wsm'

@description('Image of deploy/Dockerfile.')
param image string

@description('Registry of the image, where the identity has the role AcrPull; empty for a public image.')
param registry string = ''

@description('Replicas of the host: they share all connections.')
@minValue(1)
param hosts int = 2

@description('Settings of both apps, as environment variables: WSM_ALLOW_ONLY, WSM_SECRETS and others.')
param settings object = {}

var unique = '${prefix}-${uniqueString(resourceGroup().id)}'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${prefix}-manager'
  location: location
}

module messaging 'messaging.bicep' = {
  name: 'messaging'
  params: {
    location: location
    name: unique
    principalId: identity.properties.principalId
  }
}

module state 'state.bicep' = {
  name: 'state'
  params: {
    location: location
    name: unique
    principalId: identity.properties.principalId
  }
}

module vault 'vault.bicep' = {
  name: 'vault'
  params: {
    location: location
    name: take(unique, 24)
    principalId: identity.properties.principalId
  }
}

module environment 'environment.bicep' = {
  name: 'environment'
  params: {
    location: location
    name: prefix
    clientId: identity.properties.clientId
    namespaceHost: messaging.outputs.host
    stateUrl: state.outputs.url
    vaultName: vault.outputs.name
  }
}

module handlers 'handlers.bicep' = {
  name: 'handlers'
  params: {
    location: location
    environmentId: environment.outputs.id
    identityId: identity.id
    image: image
    registry: registry
    namespaceName: messaging.outputs.name
    settings: settings
  }
}

module host 'host.bicep' = {
  name: 'host'
  params: {
    location: location
    environmentId: environment.outputs.id
    identityId: identity.id
    image: image
    registry: registry
    replicas: hosts
    settings: settings
  }
}

output namespace string = messaging.outputs.name
output vault string = vault.outputs.name
