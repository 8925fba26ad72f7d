// Nodes of npm's bittorrent-dht in one process: one JSON request a line in, one JSON answer a line out, as dht_adapter.c has them.
// INTEROP_MODULES names the folder with node_modules in it.
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const entry = path.join(process.env.INTEROP_MODULES, 'node_modules', 'bittorrent-dht', 'index.js')
const { default: DHT } = await import(pathToFileURL(entry))
const nodes = new Map()

function open ({ id, ip, port }, bootstrap) {
  const others = bootstrap.filter(([host, p]) => host !== ip || p !== port).map(([host, p]) => ({ host, port: p }))
  const dht = new DHT({ bootstrap: others.length > 0 ? others : false, host: ip })

  dht.on('warning', () => {})
  nodes.set(id, dht)
  return new Promise((resolve, reject) => {
    dht.on('error', reject)
    dht.listen(port, ip, resolve)
  })
}

const requests = {
  async start ({ nodes: wanted, bootstrap }) {
    await Promise.all(wanted.map(n => open(n, bootstrap)))
    return {}
  },

  async addnode ({ node, addrs }) {
    addrs.forEach(([host, port]) => nodes.get(node).addNode({ host, port }))
    return {}
  },

  announce ({ node, hash, port }) {
    return new Promise(resolve => nodes.get(node).announce(hash, port, error => resolve({ port, error: error?.message })))
  },

  lookup ({ node, hash, timeout }) {
    return new Promise(resolve => {
      const dht = nodes.get(node)
      const peers = new Set()
      const onPeer = (peer, infoHash) => {
        if (Buffer.from(infoHash).toString('hex') === hash) peers.add(`${peer.host}:${peer.port}`)
      }
      const end = () => {
        dht.off('peer', onPeer)
        resolve({ peers: [...peers] })
      }

      dht.on('peer', onPeer)
      setTimeout(end, timeout * 1000).unref()
      dht.lookup(hash, end)
    })
  },

  async stat () {
    return { nodes: Object.fromEntries([...nodes].map(([id, dht]) => [id, { good: dht.nodes.count() }])) }
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  const answer = await requests[request.op](request).catch(error => ({ error: error.message }))

  console.log(JSON.stringify(answer))
}
process.exit(0)
