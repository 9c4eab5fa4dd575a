// Aedes, a broker of MQTT 3.1.1, on a port of loopback:
// node aedes.mjs PORT [refuse-publish=TOPIC] [refuse-subscribe=TOPIC]
// SIGUSR2 closes every connection.
import net from 'node:net'
import { Aedes } from 'aedes'

const [port, ...orders] = process.argv.slice(2)
const refused = Object.fromEntries(orders.map((order) => order.split('=')))

const broker = await Aedes.createBroker({
  authorizePublish: (_client, packet, done) =>
    done(packet.topic === refused['refuse-publish'] ? new Error('refused') : null),
  authorizeSubscribe: (_client, subscription, done) =>
    done(null, subscription.topic === refused['refuse-subscribe'] ? null : subscription)
})
const sockets = new Set()
const server = net.createServer((socket) => {
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
  broker.handle(socket)
})
server.listen(Number(port), '127.0.0.1')
process.on('SIGUSR2', () => sockets.forEach((socket) => socket.destroy()))
