// The network of the app: a subnet that it sends from, a subnet for private endpoints, and one way out.

@description('Required. Name of the virtual network; other names are made from it.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags of every resource.')
param tags object

resource outboundAddress 'Microsoft.Network/publicIPAddresses@2025-01-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

// Amplitude is on the internet, and a subnet of today has no way out unless it is given one. The address is fixed.
resource gateway 'Microsoft.Network/natGateways@2025-01-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: outboundAddress.id
      }
    ]
  }
}

resource endpointRules 'Microsoft.Network/networkSecurityGroups@2025-01-01' = {
  name: '${name}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'https-from-the-network'
        properties: {
          access: 'Allow'
          direction: 'Inbound'
          priority: 100
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: 'VirtualNetwork'
          destinationPortRange: '443'
        }
      }
      {
        name: 'nothing-else'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 4096
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-01-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: ['10.20.0.0/24']
    }
    // Subnets stand inside the network: as resources of their own, each deployment would take them away and back.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: '10.20.0.0/26'
          defaultOutboundAccess: false
          natGateway: {
            id: gateway.id
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                // Flex Consumption's own; Microsoft.Web/serverFarms is that of the other plans.
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.20.0.64/26'
          defaultOutboundAccess: false
          networkSecurityGroup: {
            id: endpointRules.id
          }
          // Without it the rules above would not apply to private endpoints.
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

@description('Resource id of the network.')
output id string = network.id

@description('Resource id of the subnet that the app sends from.')
output appSubnetId string = '${network.id}/subnets/app'

@description('Resource id of the subnet for private endpoints.')
output endpointSubnetId string = '${network.id}/subnets/endpoints'
